"""What a task is to the engine: data, teacher, conditions and a protocol. Imports no torch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.core.errors import UserError, unknown
from bench.core.progress import Progress
from bench.task.protocol import Protocol

if TYPE_CHECKING:
    from bench.task.prepared import PreparedTask


def default_cache() -> Path:
    """Return where prepared assets are kept: $BENCH_CACHE, or ~/.cache/distillation-bench."""
    chosen = os.environ.get("BENCH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "distillation-bench"


@dataclass(frozen=True)
class Sources:
    """Where a task looks for what it needs."""

    cache: Path
    data: Path | None = None
    """A folder with the data set, named by the user."""
    download: bool = False
    """Whether data may be downloaded."""
    teacher: Path | None = None
    """The teacher's published weights, for tasks that train none."""
    references: tuple[str, ...] = ()
    """Files of reference statistics, or names of such that are kept."""
    prompts: Path | None = None
    """A file with the evaluation's prompts."""
    training_prompts: Path | None = None
    """A file with prompts to train on, in place of the captions of the data."""
    reals: Path | None = None
    """A folder of the real images that a text-to-image evaluation compares with."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Weights of feature extractors, by the names that the extractors give them."""
    tiny_vae: Path | None = None
    """A folder with a tiny VAE, or its name on the hub: for losses on the pixels that latents stand for."""
    crop: str = "edm"
    """How images that are not of the task's size are cropped and resized."""
    own_weights: bool = False
    """Take `weights` whatever their hashes: numbers are then not comparable with others'."""

    @property
    def given(self) -> list[str]:
        """Names of the fields that say something, besides the cache and what may be downloaded."""
        of_none = Sources(self.cache, download=self.download)
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(of_none, one.name)]

    @property
    def names_inputs(self) -> bool:
        """Whether anything is named that a task is to be made from."""
        named = (self.data, self.teacher, self.prompts, self.training_prompts, self.reals, self.tiny_vae)
        return bool(self.download or self.references or self.weights) or any(one is not None for one in named)


@dataclass(frozen=True)
class Requirement:
    """One thing that a task needs, and whether it is here."""

    role: str
    what: str
    path: Path | None
    """Where it is, or None if it is missing."""
    fix: str
    """The command that gets or makes it."""
    for_training: bool = False
    """Whether evaluations go without."""


@dataclass(frozen=True)
class Baseline:
    """A named sampler of the teacher: what a student is compared with."""

    name: str
    summary: str
    steps: int
    churn: float = 0.0
    """EDM's S_churn: 0 is the deterministic ODE sampler, more is the SDE sampler."""
    guidance_scale: float = 1.0
    """Classifier-free guidance; 1: none."""

    def identity(self) -> Any:
        """What of it decides the images, as JSON data."""
        return [self.steps, self.churn, *([] if self.guidance_scale == 1 else [self.guidance_scale])]

    @property
    def network_evaluations(self) -> int:
        """Network evaluations per image of the second-order solver; guidance takes two for one."""
        return (2 * self.steps - 1) * (1 if self.guidance_scale == 1 else 2)


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

    pinned_by_prepare: ClassVar[bool] = False
    """Whether `bench prepare` alone says what the task runs on: other commands then refuse inputs."""

    def located(self, cache: Path) -> Task:  # noqa: ARG002 (most tasks are what they are declared to be)
        """Return the task with what `bench prepare` has chosen for it, where there is a choice."""
        return self

    def choose(self, sources: Sources, progress: Progress) -> Task:  # noqa: ARG002 (as above)
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
    def needs(self, sources: Sources) -> list[Requirement]:
        """Say what the task needs and what of it is here; cheap, imports nothing heavy."""

    def baseline_requirements(self, baseline: Baseline) -> list[Requirement]:  # noqa: ARG002 (most have the teacher's weights)
        """Say what a baseline needs besides, and what of it is here; as cheap as `needs`."""
        return []

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:  # noqa: ARG002 (most tasks have none)
        """Say what recipes that use these roles need besides, and what of it is here; as cheap as `needs`."""
        return []

    def lacks(self, sources: Sources) -> list[Requirement]:
        """Return what of `needs` is missing."""
        return [need for need in self.needs(sources) if need.path is None]

    def require(self, sources: Sources, training: bool = False) -> None:
        """Raise UserError if an evaluation lacks something, or `training` does: all that is, and how to get it."""
        missing = self.lacks(sources)
        if any(training or not need.for_training for need in missing):
            lines = "".join(f"\n  {need.role}: {need.fix}" for need in missing)
            raise UserError(f"task {self.name!r} is not prepared; missing:{lines}")

    @abstractmethod
    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        """Make or find everything, each cached by content. Raises UserError if something is missing."""
