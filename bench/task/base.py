"""A task, as it is declared and once it is prepared. Imports no torch."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.core.errors import UserError, unknown
from bench.core.progress import Progress
from bench.task.declaration import Baseline, Requirement, Sources
from bench.task.protocol import Protocol
from bench.task.variations import named_variation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.features.batch import Extract
    from bench.features.references.make import RealImages
    from bench.features.references.store import ReferenceStatistics
    from bench.models.denoiser import Denoiser
    from bench.models.samplers import Sampler
    from bench.task.assets import PreparedAsset

ENOUGH_FOR_IMAGES = "what is there is enough to measure images: bench eval {called} --images PATH"
"""Said where only what images from outside do not need is missing."""


@dataclass(frozen=True)
class Task(ABC):
    """A task as it is declared; `prepare` makes or finds everything that it requires."""

    name: str
    summary: str
    scale: Literal["micro", "paper"]
    image_shape: tuple[int, int, int]
    protocol: Protocol
    baselines: Mapping[str, Baseline]
    licences: Mapping[str, str]
    """Licence of each data set and weights file."""
    recipes: str = field(default="", kw_only=True)
    """Name of the task whose recipes are used on this one; empty: its own."""
    network_parameters: int | None = field(default=None, kw_only=True)
    """Parameters of the teacher, where it is so large that the number is useful before it is loaded."""
    options: str = field(default="", kw_only=True, compare=False)
    """Further options of commands on this task, each after a blank: its plug-in files, and a cache elsewhere."""

    takes: ClassVar[Collection[str]] = tuple(one.name for one in fields(Sources))
    """Fields of Sources that the task reads; `bench prepare` refuses all others."""

    weight_names: ClassVar[Collection[str]] = ()
    """Names of the weights that the task keeps for itself; all other weights are kept for every task."""

    modules: ClassVar[Collection[str]] = ()
    """Modules that `prepare` imports: the process that jobs are forked from imports them once for all jobs."""

    pinned_by_prepare: ClassVar[bool] = False
    """Whether only `bench prepare` takes the task's inputs; all other commands then refuse them."""

    @property
    def called(self) -> str:
        """The options that name the task in a command."""
        return f"--task {self.name}{self.options}"

    def located(self, cache: Path) -> Task:  # noqa: ARG002 (most tasks are what they are declared to be)
        """Return the task with the assets that `bench prepare` pinned for it, if it has any."""
        return self

    def pin(self, sources: Sources, progress: Progress) -> Task:  # noqa: ARG002 (as above)
        """Pin the assets that `sources` names for the task, if it has any, and return the task with them."""
        return self

    def under(self, protocol: str) -> Task:
        """Return the task with another of its protocols. Raises UserError if none has that name."""
        if protocol != self.protocol.name:
            raise unknown(f"protocol of task {self.name!r}:", protocol, [self.protocol.name])
        return self

    def naming_pinned(self, protocol: Protocol) -> Protocol:
        """Return a further protocol of this task with the names of the pinned assets that its metrics read."""
        return protocol

    def baseline(self, name: str) -> Baseline:
        """Return the sampler of this name: a declared one, or `teacher-ode+steps8`, one with other settings.

        Raises UserError with the nearest names (bench.task.variations).
        """
        return named_variation(self.baselines, name)

    def for_images(self) -> Task:
        """Return the task for images from outside: without teacher and training data, if it can do without."""
        return self

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Return the hashes of the teacher and the feature network, which are part of every run's identity."""

    def identity_of(self, roles: Collection[str]) -> dict[str, str]:  # noqa: ARG002 (most tasks have none)
        """Return hashes of further assets that training reads; `roles` names those that only some recipes use."""
        return {}

    @abstractmethod
    def requirements(self, sources: Sources) -> list[Requirement]:
        """Return what the task requires, and where each thing is; cheap, and imports nothing heavy."""

    def baseline_requirements(self, baseline: Baseline) -> list[Requirement]:  # noqa: ARG002 (most have the teacher's weights)
        """Return what a baseline requires in addition; as cheap as `requirements`."""
        return []

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:  # noqa: ARG002 (most tasks have none)
        """Return what recipes that use these roles require in addition; as cheap as `requirements`."""
        return []

    def missing(self, sources: Sources) -> list[Requirement]:
        """Return the requirements that are missing."""
        return [requirement for requirement in self.requirements(sources) if requirement.path is None]

    def require(self, sources: Sources, training: bool = False) -> None:
        """Raise UserError, with every fix, if an evaluation (or with `training` a training) misses something."""
        missing = self.missing(sources)
        if any(training or not requirement.for_training for requirement in missing):
            lines = "".join(f"\n  {requirement.role}: {requirement.fix}" for requirement in missing)
            enough = ""
            if self.protocol.metrics and not self.for_images().missing(sources):
                enough = f"\n{ENOUGH_FOR_IMAGES.format(called=self.called)}"
            raise UserError(f"task {self.name!r} is not prepared; missing:{lines}{enough}")

    @abstractmethod
    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        """Make or find every asset; each is cached by content. Raises UserError if something is missing."""


class PreparedTask(ABC):
    """A task with everything loaded that training and evaluation read."""

    task: Task
    cache: Path
    """The folder of prepared assets."""
    weights: list[PreparedAsset]
    """The assets that are networks: teacher and feature networks."""
    data: list[PreparedAsset]
    """The assets that the networks and the metrics were made from."""
    teacher: Denoiser
    """The teacher: frozen, in evaluation mode, on the CPU."""
    teacher_sha256: str
    null_condition: Tensor | None
    """The teacher's condition for unconditional images, if it has one."""
    extractors: Mapping[str, Extract]
    """The feature extractors that the task provides, by the name that metrics use."""
    references: Mapping[str, ReferenceStatistics]
    """Features of the protocol's real images, by extractor; an extractor that only scores images has none."""
    teacher_references: Mapping[str, ReferenceStatistics] = {}
    """Features of the teacher's images, by extractor, if a metric compares with them; they are made before the
    first evaluation (bench.evaluation.teacher_reference)."""
    evaluation_batch: int = 200
    """Images that are generated together; a multiple of the number of images that share a prompt."""

    @property
    @abstractmethod
    def training_conditions(self) -> int:
        """The number of distinct conditions that students are trained on: classes or prompts."""

    @property
    @abstractmethod
    def real_count(self) -> int:
        """The number of real images to train on."""

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """The shape [C, H, W] of the networks' outputs: images, or latents that `decode` turns into images."""
        return self.task.image_shape

    def decode(self, x0: Tensor) -> Tensor:
        """Turn the networks' outputs into images [B, C, H, W] in [-1, 1]."""
        return x0

    def pixels(self) -> tuple[Callable[[Tensor], Tensor], list[PreparedAsset]]:
        """Return a differentiable decoder for losses on pixels, and the assets that it reads.

        The default is `decode`. Raises UserError if something is missing.
        """
        return self.decode, []

    def lpips_trunk(self) -> Path | None:
        """Return the file of LPIPS's trunk that is pinned for the task, or None."""
        return None

    @abstractmethod
    def training_condition(self, indices: Tensor) -> Tensor:
        """Return training conditions [B, ...] for indices [B] below `training_conditions`, on their device."""

    def training_condition_on(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return training conditions [B, ...] on a device, for indices [B] on the CPU.

        A task that looks its conditions up there reads the indices without waiting for the device.
        """
        from bench.core.transfers import sent  # only now: torch takes seconds

        return self.training_condition(sent(indices, device))

    @abstractmethod
    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return real training images in the networks' space, and their conditions, on a device."""

    @abstractmethod
    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        """Write a student and the grid positions of its steps; the folder appears whole."""

    @abstractmethod
    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read a saved or published student and the grid positions of its steps.

        `steps` selects one of its samplers, where it has several. Raises UserError if no sampler has so many
        steps, if the folder contains no student, or if the student makes images of another shape.
        """

    def load_student_from(self, path: Path, start: float) -> tuple[Denoiser, list[int]]:
        """Read a published one-step student whose file does not say its first noise level sigma.

        Returns the student and the grid position of its step. Raises UserError if the file does say it.
        """
        raise UserError(f"{path} says where its student starts; fix: leave out --student-start {start:g}")

    @abstractmethod
    def conditions(self, indices: Tensor) -> Tensor:
        """Return the evaluation conditions of samples with these global indices."""

    def prompts_of(self, indices: Tensor) -> Sequence[str]:  # noqa: ARG002 (most tasks have no prompts)
        """Return the prompts of samples with these global indices, where the task has prompts."""
        return ()

    def protocol_prompts(self) -> Sequence[str]:
        """Return the prompts of the protocol's images, one for all images that share it; empty without prompts."""
        import torch  # only now: it takes seconds

        protocol = self.task.protocol
        return self.prompts_of(torch.arange(0, protocol.samples, protocol.images_per_prompt))

    def categories_of(self, indices: Tensor) -> Sequence[str]:  # noqa: ARG002 (most prompts have no categories)
        """Return the categories of samples' prompts, as their benchmark gives them; empty if it gives none."""
        return ()

    def condition_names(self, indices: Tensor, conditions: Tensor) -> Sequence[str]:  # noqa: ARG002
        """Return the conditions of samples in words, for people: their prompts or classes; empty without words."""
        return self.prompts_of(indices)

    def reference_images(self) -> RealImages:
        """Return the real images that the protocol compares with, for extractors that the task does not provide.

        Raises UserError if the task keeps none.
        """
        raise UserError(
            f"task {self.task.name!r} keeps no real images for further feature extractors; fix: leave out the "
            "metrics that compare with real images in a feature space of their own"
        )

    def as_sampled(self, denoiser: Denoiser) -> Denoiser:
        """Return a denoiser in the protocol's precision of sampling: itself, or a copy in bf16.

        Raises UserError for a denoiser that cannot be converted.
        """
        if self.task.protocol.sampling_precision == "fp32":
            return denoiser
        from bench.models.bf16 import backbones_of, to_bf16

        denoiser = copy.deepcopy(denoiser)
        for backbone in backbones_of(denoiser, *self._in_bf16):
            to_bf16(backbone)
        return denoiser

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Run samplers within it: a network that cannot run in the protocol's precision raises UserError."""
        if self.task.protocol.sampling_precision == "fp32":
            yield
            return
        from bench.models.bf16 import refusing_mixed_types

        with refusing_mixed_types(self.teacher, *self._in_bf16):
            yield

    @property
    def _in_bf16(self) -> tuple[str, str]:
        """What asks for networks in bf16, and what changes it."""
        return f"protocol {self.task.protocol.name!r}", "name another protocol: --protocol NAME"

    def sampled(self, baseline: Baseline) -> Sampled:
        """Return a loaded baseline; the default is a sampler of the teacher."""
        from bench.core.device import this_device
        from bench.task.baseline_sampler import baseline_sampler

        device, null = this_device(), self.null_condition
        null, teacher = None if null is None else null.to(device), self.as_sampled(self.teacher)
        return Sampled(self, baseline_sampler(teacher.to(device), null, baseline), self.teacher_sha256)

    @abstractmethod
    def pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `count` teacher pairs: noise and image [N, C, H, W], condition [N]; cached."""

    @abstractmethod
    def asset_of_pairs(self, count: int) -> PreparedAsset:
        """Return the asset that is the cached file of `pairs(count)`."""


@dataclass(frozen=True)
class Sampled:
    """A sampler that is ready to generate: a baseline's or a student's."""

    prepared: PreparedTask
    """The task, with the conditions and the decoder that the sampler requires."""
    sampler: Sampler
    sha256: str
    """SHA-256 of the weights that it samples."""
