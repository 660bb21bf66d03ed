"""Images that a diffusers pipeline makes of a protocol's prompts or classes, and its seeds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from bench.core.errors import UserError, first_line
from bench.core.numerics import tf32
from bench.evaluation.image_source import Generated, ImageSource, classes_of, seeds_of
from bench.models.stock_pipelines import FIXED, OPTIONS
from bench.models.stock_prompts import read_whole, without_cut_warnings
from bench.models.text.conditions import note_cut
from bench.task.base import PreparedTask
from bench.task.images import to_uint8


class PipelineImages(ImageSource):
    """The images of a pipeline; each has a CPU generator of its own, seeded as the protocol says."""

    protocol_noise = False
    evaluations: int | None = None
    """Passes of the network for one image, counted in the last batch; guidance takes two for one."""

    def __init__(self, pipeline: DiffusionPipeline, settings: Mapping[str, Any], prepared: PreparedTask) -> None:
        """`settings` are those of `StockPipeline.settings`. Raises UserError if the task has no prompts for it."""
        self.pipeline = pipeline
        self.prepared = prepared
        self.protocol = prepared.task.protocol
        self.repetitions = self.protocol.repetitions
        self._called = type(pipeline).__name__
        takes = inspect.signature(type(pipeline).__call__).parameters
        self._arguments: dict[str, Any] = {name: settings[name] for name in (*OPTIONS, *FIXED) if name in settings}
        self._counts = "batch_size" in takes  # a consistency model's does not count the classes
        if "height" in takes and "width" in takes:
            self._arguments |= dict(zip(("height", "width"), prepared.task.image_shape[1:], strict=True))
        if ("prompt" in takes) != bool(prepared.prompts_of(torch.arange(1))):
            has, wants = ("classes", "prompts") if "prompt" in takes else ("prompts", "class labels")
            raise UserError(
                f"the images of task {prepared.task.name!r} are of {has}, and {self._called} takes "
                f"{wants}; fix: name another task, or write a function: --sampler FILE.py:FUNCTION"
            )
        self._network: nn.Module | None = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
        self._passes = 0
        if self._network is not None:
            self._network.register_forward_pre_hook(self._count, with_kwargs=True)

    def note_cut(self, note: Callable[[str], None]) -> None:
        """Show a note of the protocol's prompts that the pipeline does not read to their end."""
        prompts = self.prepared.protocol_prompts()
        note_cut(read_whole(self.pipeline, prompts), f"prompts of {self._called}", note)

    @property
    def parameters(self) -> int | None:
        """The number of the network's parameters."""
        return sum(one.numel() for one in self._network.parameters()) if self._network is not None else None

    @torch.no_grad()
    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        indices = torch.arange(start, stop)
        prompts = self.prepared.prompts_of(indices)
        conditions = None if prompts else classes_of(self.prepared, repetition, indices)
        given: dict[str, Any] = {"prompt": list(prompts)}
        if conditions is not None:
            given = {"class_labels": conditions.tolist()}
        if self._counts:
            given["batch_size"] = len(indices)
        seeds = seeds_of(self.protocol, repetition, indices)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._passes = 0
        try:
            with tf32(self.protocol.tf32), without_cut_warnings():
                made = self.pipeline(**given, **self._arguments, generator=generators, output_type="np").images
        except Exception as error:
            raise UserError(
                f"{self._called} failed: {type(error).__name__}: {first_line(error)}; fix: try the same call with "
                "diffusers alone, or write a function: --sampler FILE.py:FUNCTION"
            ) from error
        if self._passes:
            self.evaluations = round(self._passes / len(indices))
        images = self._images(made, len(indices))
        return Generated(
            images=to_uint8(images * 2 - 1, self.protocol.uint8),
            conditions=conditions,
            indices=indices,
            prompts=prompts,
            finite=bool(images.isfinite().all()),
        )

    def _images(self, made: Any, count: int) -> Tensor:
        """Return what the pipeline made, [B, H, W, C] in 0 ... 1, as [B, C, H, W]. Raises UserError."""
        channels, height, width = self.prepared.task.image_shape
        if not isinstance(made, np.ndarray) or made.shape != (count, height, width, channels):
            raise UserError(
                f"{self._called} made images {list(getattr(made, 'shape', []))}, and the protocol's are "
                f"{[count, height, width, channels]}; fix: name a task with images of the pipeline's size"
            )
        return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()

    def _count(self, network: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Count the images of one pass of the network."""
        first = next((one for one in (*given, *named.values()) if isinstance(one, Tensor) and one.ndim), None)
        self._passes += 0 if first is None else len(first)
