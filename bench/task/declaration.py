"""The parts of a task's declaration: its sources, its requirements and its baselines. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args


def default_cache() -> Path:
    """Return the folder of prepared assets: $BENCH_CACHE, or ~/.cache/distillation-bench."""
    named = os.environ.get("BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "distillation-bench"


@dataclass(frozen=True)
class Sources:
    """The places in which a task finds what it requires, as the user names them."""

    cache: Path
    data: Path | None = None
    """The data set: a folder or a file that the user names."""
    download: bool = False
    """Whether data may be downloaded."""
    teacher: Path | None = None
    """The teacher's published weights, for tasks that train none."""
    references: tuple[str, ...] = ()
    """Files of reference statistics, or names of stored references."""
    prompts: Path | None = None
    """A file with the evaluation's prompts."""
    training_prompts: Path | None = None
    """A file with prompts to train on, instead of the captions of the data."""
    reals: Path | None = None
    """A folder of the real images that a text-to-image evaluation compares with."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Weights of feature extractors, by the names that the extractors give them."""
    tiny_vae: Path | None = None
    """A folder with a tiny VAE, or its name on the hub; losses on pixels decode latents with it."""
    crop: str = "edm"
    """The rule by which images of another size than the task's are cropped and resized."""
    own_weights: bool = False
    """Whether `weights` may have other hashes than the published ones; numbers are then not comparable."""
    pinned: Collection[str] = ()
    """The names of those in `weights` that are pinned for every task, so that the user has chosen their hash."""

    def takes_any_hash(self, name: str) -> bool:
        """Whether these weights may have another hash than the published one."""
        return self.own_weights or name in self.pinned

    @property
    def given(self) -> list[str]:
        """The names of the fields that the user sets, except `cache` and `download`."""
        empty = Sources(self.cache, download=self.download, pinned=self.pinned)
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(empty, one.name)]

    @property
    def names_inputs(self) -> bool:
        """Whether the user names any input of a task, or allows downloads."""
        named = (self.data, self.teacher, self.prompts, self.training_prompts, self.reals, self.tiny_vae)
        return bool(self.download or self.references or self.weights) or any(one is not None for one in named)


@dataclass(frozen=True)
class Requirement:
    """One thing that a task requires, and where it is."""

    role: str
    what: str
    path: Path | None
    """Where it is, or None if it is missing."""
    fix: str
    """The command that gets it or makes it."""
    for_training: bool = False
    """Whether only training requires it."""


@dataclass(frozen=True)
class Baseline:
    """A named sampler of the teacher, with which students are compared."""

    name: str
    summary: str
    steps: int
    churn: float = 0.0
    """EDM's S_churn: 0 is the deterministic ODE sampler, more is the SDE sampler."""
    guidance_scale: float = 1.0
    """Classifier-free guidance; 1: none."""

    def identity(self) -> Any:
        """Return the settings that decide the images, as JSON data."""
        return [self.steps, self.churn, *([] if self.guidance_scale == 1 else [self.guidance_scale])]

    @property
    def network_evaluations(self) -> int:
        """Network evaluations per image of the second-order solver; guidance takes two for one."""
        return (2 * self.steps - 1) * (1 if self.guidance_scale == 1 else 2)

    @property
    def settings_by_name(self) -> Mapping[str, Any]:
        """The settings that `bench sweep` may vary, by its options: solver, steps, guidance, churn."""
        return {
            "solver": "heun",
            "steps": self.steps,
            "guidance": self.guidance_scale,
            "churn": self.churn,
        }

    @property
    def solvers(self) -> Collection[str]:
        """The solvers that may take the place of this sampler's own, which is among them."""
        return ("heun", "ddim")

    def varied(self, settings: Mapping[str, Any]) -> Baseline:
        """Return this sampler with other `settings_by_name`. Raises ValueError if it cannot have them."""
        values = {_FIELDS.get(name, name): value for name, value in settings.items() if name != "solver"}
        if settings.get("solver", "heun") == "heun":
            return replace(self, **values)
        plain = replace(self, **values)
        return SolverBaseline(
            plain.name, plain.summary, plain.steps, plain.churn, plain.guidance_scale, solver="ddim"
        )


_FIELDS = {"guidance": "guidance_scale"}
"""Fields of a sampler that have another name than the option of `bench sweep`."""

Solver = Literal["ddim", "flow-heun", "flow-euler"]
"""How the teacher's equation is solved: DDIM at evenly spaced times of the schedule; Heun's or Euler's method at
evenly spaced times of a rectified flow."""


@dataclass(frozen=True)
class SolverBaseline(Baseline):
    """A sampler of the teacher with another solver than EDM's, and guidance that can be limited."""

    solver: Solver = field(kw_only=True)
    guidance_levels: tuple[float, float] = field(default=(0.0, 1.0), kw_only=True)
    """The noise levels with guidance, as times of a rectified flow (Kynkaanniemi et al., 2024); default: all."""
    guided_channels: int | None = field(default=None, kw_only=True)
    """The number of channels with guidance, the first ones; None: all."""

    def __post_init__(self) -> None:
        if self.churn or (self.solver == "ddim" and self.guidance_levels != (0.0, 1.0)):
            raise ValueError(f"{self.solver} adds no noise, and a range of guidance is for rectified flows")

    def identity(self) -> Any:
        return {key: value for key, value in asdict(self).items() if key not in ("name", "summary")}

    @property
    def flow_times(self) -> list[float]:
        """The times of the steps of a rectified flow's solver: evenly spaced, from 1 down."""
        return [1 - i / self.steps for i in range(self.steps)]

    @property
    def network_evaluations(self) -> int:
        times = self.flow_times
        evaluated = [*times, *times[1:]] if self.solver == "flow-heun" else times
        low, high = self.guidance_levels
        guided = sum(low <= time <= high for time in evaluated)
        return len(evaluated) + (0 if self.guidance_scale == 1 else guided)

    @property
    def settings_by_name(self) -> Mapping[str, Any]:
        return {"solver": self.solver, "steps": self.steps, "guidance": self.guidance_scale}

    @property
    def solvers(self) -> Collection[str]:
        """Those of a rectified flow, if it is one; DDIM's own schedule has no even times of a flow."""
        return ("ddim",) if self.solver == "ddim" else get_args(Solver)

    def varied(self, settings: Mapping[str, Any]) -> Baseline:
        return replace(self, **{_FIELDS.get(name, name): value for name, value in settings.items()})
