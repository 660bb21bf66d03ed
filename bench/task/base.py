"""A task, as it is declared and once it is prepared. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.core.errors import UserError, unknown
from bench.core.progress import Progress
from bench.task.declaration import Baseline, Requirement, Sources
from bench.task.protocol import Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.features.batch import Extract
    from bench.features.reference_store import ReferenceStatistics
    from bench.features.references import RealImages
    from bench.models.denoiser import Denoiser
    from bench.models.samplers import Sampler
    from bench.task.assets import PreparedAsset


@dataclass(frozen=True)
class Task(ABC):
    """A task as it is declared; `prepare` makes or finds all it needs."""

    name: str
    summary: str
    scale: Literal["micro", "paper"]
    image_shape: tuple[int, int, int]
    protocol: Protocol
    baselines: Mapping[str, Baseline]
    licences: Mapping[str, str]
    """Licence of each data set and weights file."""
    recipes: str = field(default="", kw_only=True)
    """Task whose recipes methods use on this one; empty: its own."""
    network_parameters: int | None = field(default=None, kw_only=True)
    """Of the teacher, where it is large enough to be asked for before it is loaded."""

    takes: ClassVar[Collection[str]] = tuple(one.name for one in fields(Sources))
    """What `bench prepare` may be given for it, as fields of Sources: anything else would be read by nobody."""

    weight_names: ClassVar[Collection[str]] = ()
    """Names of the extractors' weights that the task keeps for itself; others are kept for all tasks."""

    modules: ClassVar[Collection[str]] = ()
    """Modules that `prepare` imports: the process that jobs are forked from imports them once for all jobs."""

    pinned_by_prepare: ClassVar[bool] = False
    """Whether `bench prepare` alone says what the task runs on: other commands then refuse inputs."""

    def located(self, cache: Path) -> Task:  # noqa: ARG002 (most tasks are what they are declared to be)
        """Return the task with what `bench prepare` has chosen for it, where there is a choice."""
        return self

    def pin(self, sources: Sources, progress: Progress) -> Task:  # noqa: ARG002 (as above)
        """Let the task run from now on on what `sources` names, where there is a choice, and return it so."""
        return self

    def under(self, protocol: str) -> Task:
        """Return the task with another of its protocols. Raises UserError if it has none of that name."""
        if protocol != self.protocol.name:
            raise unknown(f"protocol of task {self.name!r}:", protocol, [self.protocol.name])
        return self

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Name the teacher and the feature network by what makes them: part of every run's identity."""

    def identity_of(self, roles: Collection[str]) -> dict[str, str]:  # noqa: ARG002 (most tasks have none)
        """Name what training reads besides, and of these assets that only some recipes use, for runs' identity."""
        return {}

    @abstractmethod
    def requirements(self, sources: Sources) -> list[Requirement]:
        """Say what the task needs and what of it is here; cheap, imports nothing heavy."""

    def baseline_requirements(self, baseline: Baseline) -> list[Requirement]:  # noqa: ARG002 (most have the teacher's weights)
        """Say what a baseline needs besides, and what of it is here; as cheap as `needs`."""
        return []

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:  # noqa: ARG002 (most tasks have none)
        """Say what recipes that use these roles need besides, and what of it is here; as cheap as `needs`."""
        return []

    def missing(self, sources: Sources) -> list[Requirement]:
        """Return what of `needs` is missing."""
        return [need for need in self.requirements(sources) if need.path is None]

    def require(self, sources: Sources, training: bool = False) -> None:
        """Raise UserError if an evaluation lacks something, or `training` does: all that is, and how to get it."""
        missing = self.missing(sources)
        if any(training or not need.for_training for need in missing):
            lines = "".join(f"\n  {need.role}: {need.fix}" for need in missing)
            raise UserError(f"task {self.name!r} is not prepared; missing:{lines}")

    @abstractmethod
    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        """Make or find everything, each cached by content. Raises UserError if something is missing."""


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
        from bench.core.device import this_device
        from bench.task.baseline_sampler import baseline_sampler

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
