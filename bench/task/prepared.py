"""A prepared task: the teacher, the real images and the feature network, loaded and ready."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_size
from bench.features.batch import Extract
from bench.features.reference_store import ReferenceStatistics
from bench.features.references import RealImages
from bench.models.denoiser import Denoiser
from bench.models.samplers import Sampler
from bench.task.base import Baseline, Task
from bench.task.baseline_sampler import baseline_sampler
from bench.task.protocol import UInt8Rule


@dataclass(frozen=True)
class PreparedAsset:
    """A file or folder that numbers depend on, with its hash."""

    role: str
    path: Path | None
    sha256: str
    bytes: int


def file_asset(role: str, path: Path) -> PreparedAsset:
    """A file as numbers depend on it."""
    return PreparedAsset(role, path, file_sha256(path), path.stat().st_size)


def reference_asset(role: str, store: Path, reference: ReferenceStatistics) -> PreparedAsset:
    """A kept reference as numbers depend on it."""
    folder = store / reference.description.name
    return PreparedAsset(role, folder, reference.description.sha256, folder_size(folder))


class PreparedTask(ABC):
    """What training and evaluation take from a task."""

    task: Task
    cache: Path
    """Where prepared assets are kept."""
    weights: list[PreparedAsset]
    """The networks: teacher and feature network."""
    data: list[PreparedAsset]
    """What they and the metrics were made from."""
    teacher: Denoiser
    """Frozen, in evaluation mode, on the CPU."""
    teacher_sha256: str
    null_condition: Tensor | None
    """The teacher's unconditional entry, where it has one."""
    extractors: Mapping[str, Extract]
    """The feature extractors that the task has itself, by the name that metrics ask for."""
    references: Mapping[str, ReferenceStatistics]
    """Features of the real images that the protocol compares with, by extractor; one that only scores has none."""
    evaluation_batch: int = 200
    """Images generated at once; a multiple of those that share a prompt."""

    @property
    @abstractmethod
    def training_conditions(self) -> int:
        """Distinct conditions that students are trained on: the classes, or the prompts."""

    @property
    @abstractmethod
    def real_count(self) -> int:
        """Real images to train on."""

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """[C, H, W] of what the networks make: images, or latents that `decode` turns into them."""
        return self.task.image_shape

    def decode(self, x0: Tensor) -> Tensor:
        """Turn what the networks make into images [B, C, H, W] in [-1, 1]."""
        return x0

    def pixels(self) -> tuple[Callable[[Tensor], Tensor], list[PreparedAsset]]:
        """How losses on pixels see what the networks make, with gradients; and the assets that it takes.

        By default as `decode` shows it. Raises UserError if something is missing.
        """
        return self.decode, []

    def lpips_trunk(self) -> Path | None:
        """Return the file of LPIPS's trunk that was chosen for the task, if one was."""
        return None

    @abstractmethod
    def training_condition(self, chosen: Tensor) -> Tensor:
        """The training conditions [B, ...] of these numbers below `training_conditions`, [B], on their device."""

    @abstractmethod
    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Real images of the training set, as the networks make them, and their conditions, on a device."""

    @abstractmethod
    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        """Save a student and the grid positions of its steps; the folder appears whole."""

    @abstractmethod
    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read a saved or published student and the grid positions of its steps.

        `steps` picks one of its samplers, where it has several. Raises UserError if there is none of so many
        steps, if it is no student, or if it makes images of another shape.
        """

    def load_student_from(self, path: Path, start: float) -> tuple[Denoiser, list[int]]:
        """Read a published one-step student whose file does not say at which noise level sigma it starts.

        Returns it and the grid position of its step. Raises UserError where no format of the task leaves it open.
        """
        raise UserError(f"{path} says where its student starts; fix: leave out --student-start {start:g}")

    @abstractmethod
    def conditions(self, indices: Tensor) -> Tensor:
        """Evaluation conditions of samples with these global indices."""

    def prompts_of(self, indices: Tensor) -> Sequence[str]:  # noqa: ARG002 (most tasks have no prompts)
        """Return the prompts of samples with these global indices, where the task has prompts."""
        return ()

    def reference_images(self) -> RealImages:
        """Return the real images that the protocol compares with, for extractors that the task does not have.

        Raises UserError if they are not at hand.
        """
        raise UserError(
            f"task {self.task.name!r} keeps no real images for further feature extractors; fix: leave out the "
            "metrics that compare with real images in a feature space of their own"
        )

    def sampled(self, baseline: Baseline) -> Sampled:
        """Load a baseline: by default, a sampler of the teacher."""
        device, null = this_device(), self.null_condition
        null = None if null is None else null.to(device)
        return Sampled(self, baseline_sampler(self.teacher.to(device), null, baseline), self.teacher_sha256)

    @abstractmethod
    def pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `count` teacher pairs: noise and image [N, C, H, W], condition [N]; cached."""

    @abstractmethod
    def asset_of_pairs(self, count: int) -> PreparedAsset:
        """The cached file of `pairs(count)`."""


@dataclass(frozen=True)
class Sampled:
    """A baseline, ready to generate."""

    prepared: PreparedTask
    """The task with the conditions and the decoder that it needs."""
    sampler: Sampler
    sha256: str
    """Of the weights that it samples."""


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float32 -1 ... 1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor, rule: UInt8Rule = "round") -> Tensor:
    """Float -1 ... 1 -> uint8, clipped, by a protocol's rule, in the dtype of `images`.

    edm: the whole part of x * 127.5 + 128 (EDM's generate.py). truncate: the whole part of (x + 1) * 127.5 (DMD2's
    scripts). Both are the official expressions, to the bit. round: x * 127.5 + 127.5 to the nearest grey level,
    half to even, which is edm's but for pixels within a rounding error of the border of two levels.
    """
    if rule == "round":
        levels = (images * 127.5 + 127.5).round()
    else:
        levels = images * 127.5 + 128 if rule == "edm" else (images + 1) * 127.5
    return levels.clamp(0, 255).to(torch.uint8)
