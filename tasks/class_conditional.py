"""The base class of prepared class-conditional tasks: students on disk, conditions, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.core.transfers import sent
from bench.models.backbones.classes import ClassFamily
from bench.models.denoiser import Denoiser
from bench.models.saved import load_denoiser, no_such_sampler, require_student, save_denoiser
from bench.task.images import to_unit_range
from bench.task.pairs import PairedTeacher


class PreparedClassTask(PairedTeacher):
    """A prepared task whose teacher is conditioned on a class."""

    teacher: ClassFamily
    null_condition: Tensor | None = None
    classes: int
    real_images: Tensor
    """The training images as uint8 [N, C, H, W]."""
    real_conditions: Tensor
    """The training images' classes [N]."""

    @property
    def training_conditions(self) -> int:
        """The number of classes."""
        return self.classes

    @property
    def real_count(self) -> int:
        return len(self.real_images)

    def training_condition(self, indices: Tensor) -> Tensor:
        return indices

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        # The images are moved to the device as bytes, and converted there.
        images = sent(self.real_images[positions], device)
        return to_unit_range(images), sent(self.real_conditions[positions], device)

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        assert isinstance(student, ClassFamily)
        save_denoiser(student, folder, indices)

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        saved = load_denoiser(folder, type(self.teacher), self.teacher)
        require_student(folder, saved.indices)
        (channels, size, _), (own_channels, height, width) = saved.denoiser.sample_shape, self.sample_shape
        if size != height:
            raise UserError(
                f"{folder} makes images of {size}x{size}, but task {self.task.name!r} has "
                f"{height}x{width}; fix: name a student of this task"
            )
        found, own = (channels, saved.denoiser.classes), (own_channels, self.classes)
        if found != own:
            raise UserError(
                f"{folder} has {found[0]} channels and {found[1]} classes, but students of task "
                f"{self.task.name!r} have {own[0]} and {own[1]}; fix: name a student of this task"
            )
        if steps not in (None, len(saved.indices)):
            raise no_such_sampler(folder, steps, [len(saved.indices)])
        return saved.denoiser, saved.indices

    def conditions(self, indices: Tensor) -> Tensor:
        """Return balanced classes: sample i has class i mod the number of classes."""
        return indices % self.classes
