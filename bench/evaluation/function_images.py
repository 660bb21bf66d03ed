"""Images that a Python function makes of a protocol's prompts or classes, and its seeds."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.core.errors import UserError, counted, first_line
from bench.core.numerics import tf32
from bench.core.progress import Progress
from bench.evaluation.image_source import Generated, ImageSource, classes_of, seeds_of
from bench.task.base import PreparedTask

Function = Callable[[list[Any], list[int]], Any]
"""function(conditions, seeds) -> images. `conditions` are the prompts (str) of a batch, or its classes (int) where
the task has no prompts, and `seeds` are one whole number for each; image i must depend on conditions[i] and
seeds[i] alone. It returns the images as 8-bit grey levels: a torch tensor or NumPy array of uint8 [B, C, H, W] or
[B, H, W, C], or a list of B Pillow images of mode RGB (L where the task's images are grey)."""


SAME_LEVELS = 8.0
"""The greatest mean difference, in grey levels, of two images of one seed: rounding differs by the size of
batches, and a sampler of many steps in half precision makes more. Other noise makes several times as much."""


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

    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        return self._made(repetition, torch.arange(start, stop))

    def probe(self, progress: Progress) -> None:
        """Make a few images before all are made. Raises UserError if the form is wrong, or seeds decide nothing.

        Images that do not depend on their seeds are told to `progress`: some functions have none to draw.
        """
        alone = self._made(0, torch.tensor([0]))
        if self.protocol.samples > 1:  # the first image again, behind another one
            apart = _apart(self._made(0, torch.tensor([1, 0])).images[1], alone.images[0])
            if apart > SAME_LEVELS:
                raise UserError(
                    f"{self.called} makes another image of the same seed beside another one than alone: "
                    f"{apart:.0f} grey levels apart on average; fix: draw the noise of image i from seeds[i] "
                    "alone, such as by torch.Generator().manual_seed(seeds[i])"
                )
        if self.repetitions > 1 and self.protocol.labels == "balanced":
            other = self._made(1, torch.tensor([0]))
            if torch.equal(other.images, alone.images):
                seeds = [seeds_of(self.protocol, repetition, torch.tensor([0]))[0] for repetition in (0, 1)]
                progress.note(
                    f"{self.called} makes the same image of the seeds {seeds[0]} and {seeds[1]}: if it draws "
                    "noise, let it draw it from the seeds, since repetitions are no independent ones otherwise"
                )

    @torch.no_grad()
    def _made(self, repetition: int, indices: Tensor) -> Generated:
        prompts = self.prepared.prompts_of(indices)
        conditions = None if prompts else classes_of(self.prepared, repetition, indices)
        given = list(prompts) if conditions is None else conditions.tolist()
        try:
            with tf32(self.protocol.tf32):
                made = self.function(given, seeds_of(self.protocol, repetition, indices))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call above
            own = [one for one in frames if one.filename == frames[0].filename]
            where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
            fix = "correct the function" if own else "let it take two arguments, conditions and seeds"
            raise UserError(
                f"{self.called} failed{where}: {type(error).__name__}: {first_line(error)}; fix: {fix}"
            ) from error
        return Generated(
            images=as_levels(made, len(indices), self.prepared.task.image_shape, self.called),
            conditions=conditions,
            indices=indices,
            prompts=prompts,
            finite=True,
        )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().mean())


def as_levels(made: Any, count: int, shape: tuple[int, int, int], called: str) -> Tensor:
    """Return images as uint8 [B, C, H, W]. Raises UserError unless `made` is `count` such images of a shape."""
    channels, height, width = shape
    wanted = (
        f"{counted(count, 'image')} of {height}x{width} with {channels} channel(s), as a uint8 tensor or array "
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
