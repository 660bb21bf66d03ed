"""Images that a Python function makes of a protocol's prompts or classes, and its seeds."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.core.errors import UserError, first_line
from bench.core.numerics import tf32
from bench.evaluation.image_source import Generated, ImageSource, classes_of, seeds_of
from bench.task.base import PreparedTask

Function = Callable[[list[Any], list[int]], Any]
"""function(conditions, seeds) -> images. `conditions` are the prompts (str) of a batch, or its classes (int) where
the task has no prompts, and `seeds` are one whole number for each; image i must depend on conditions[i] and
seeds[i] alone. It returns the images as 8-bit grey levels: a torch tensor or NumPy array of uint8 [B, C, H, W] or
[B, H, W, C], or a list of B Pillow images of mode RGB (L where the task's images are grey)."""


class FunctionImages(ImageSource):
    """The images of a user's function; what it returns is checked, and never converted."""

    protocol_noise = False

    def __init__(self, function: Function, called: str, prepared: PreparedTask) -> None:
        """`called` names the function in messages."""
        self.function = function
        self.called = called
        self.prepared = prepared
        self.protocol = prepared.task.protocol
        self.repetitions = self.protocol.repetitions

    @torch.no_grad()
    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        indices = torch.arange(start, stop)
        prompts = self.prepared.prompts_of(indices)
        conditions = None if prompts else classes_of(self.prepared, repetition, indices)
        given = list(prompts) if conditions is None else conditions.tolist()
        try:
            with tf32(self.protocol.tf32):
                made = self.function(given, seeds_of(self.protocol, repetition, indices))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"{self.called} failed at {where.filename}:{where.lineno}: {type(error).__name__}: "
                f"{first_line(error)}; fix: correct the function"
            ) from error
        return Generated(
            images=as_levels(made, len(indices), self.prepared.task.image_shape, self.called),
            conditions=conditions,
            indices=indices,
            prompts=prompts,
            finite=True,
        )


def as_levels(made: Any, count: int, shape: tuple[int, int, int], called: str) -> Tensor:
    """Return images as uint8 [B, C, H, W]. Raises UserError unless `made` is `count` such images of a shape."""
    channels, height, width = shape
    wanted = (
        f"{count} images of {height}x{width} with {channels} channel(s), as a uint8 tensor or array "
        f"[{count}, {channels}, {height}, {width}] or [{count}, {height}, {width}, {channels}], or as a list of "
        f"Pillow images of mode {'L' if channels == 1 else 'RGB'}"
    )
    if isinstance(made, Sequence) and all(isinstance(one, Image.Image) for one in made):
        made = _of_pillow(made, channels, f"{called} returned", wanted)
    elif isinstance(made, np.ndarray):
        made = torch.from_numpy(np.ascontiguousarray(made)) if made.dtype == np.uint8 else made
    if not isinstance(made, Tensor) or made.dtype != torch.uint8:
        found = f"{type(made).__name__} of {made.dtype}" if hasattr(made, "dtype") else type(made).__name__
        raise UserError(f"{called} returned {found}; fix: return {wanted}; rounding is the function's own work")
    if made.shape == (count, channels, height, width):
        return made.cpu().contiguous()
    if made.shape == (count, height, width, channels):
        return made.cpu().permute(0, 3, 1, 2).contiguous()
    raise UserError(f"{called} returned a tensor {list(made.shape)}; fix: return {wanted}")


def _of_pillow(images: Sequence[Image.Image], channels: int, found: str, wanted: str) -> Tensor:
    """Stack Pillow images to uint8 [B, H, W, C]. Raises UserError if they differ or have another mode."""
    kinds = {(image.mode, image.size) for image in images}
    if len(kinds) != 1 or next(iter(kinds))[0] != ("L" if channels == 1 else "RGB"):
        shown = ", ".join(f"{mode} {width}x{height}" for mode, (width, height) in sorted(kinds)) or "no images"
        raise UserError(f"{found} {shown}; fix: return {wanted}")
    arrays = [np.array(image) for image in images]
    return torch.from_numpy(np.stack([array.reshape(*array.shape[:2], channels) for array in arrays]))
