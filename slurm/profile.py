"""A cluster's profile: where jobs go, what a node has, and what a job needs before it can start. One TOML each."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.core.errors import UserError, hint, unknown
from bench.core.escape import printable
from bench.core.files import read_text
from slurm.flags import Flags, sbatch_flags, srun_arguments
from slurm.resources import Resources, Stage, resources

SHIPPED = Path(__file__).parent / "profiles"


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator(
        "partition", "qos", "constraint", "account", "gpu_type", "python", "scratch", check_fields=False
    )
    @classmethod
    def _one_line(cls, text: str | None) -> str | None:
        if text is not None and (not text or printable(text) != text):
            raise ValueError("fix: give one line of text, or remove the key")
        return text

    @field_validator("sbatch", mode="before", check_fields=False)
    @classmethod
    def _read_flags(cls, table: object) -> Flags:
        if not isinstance(table, dict):
            raise ValueError('fix: write a table, such as [sbatch] and below it comment = "bench"')
        return sbatch_flags(table)


class StageSettings(_Data):
    """Settings of one stage, which override those of the profile and the requests of the recipe."""

    partition: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    cpus: int | None = Field(default=None, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)
    hours: float | None = Field(default=None, gt=0)
    sbatch: Flags = {}
    """More flags of sbatch for this stage alone; false leaves out one that is given for all."""


class Profile(_Data):
    """One cluster, as one group uses it. What is absent is left to the cluster's defaults."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpu_type: str | None = None
    """Name of the GPUs in the cluster's gres, such as a100."""
    max_nodes: int = Field(1, ge=1)
    """Most nodes of one job."""
    gpus_per_node: int = Field(0, ge=0)
    """Most GPUs of one node that a job may take."""
    cpus_per_node: int = Field(1, ge=1)
    memory_gb_per_node: float = Field(4, gt=0)
    max_hours: float = Field(24, gt=0)
    """Longest time limit; longer work goes back into the queue and on."""
    max_jobs: int = Field(32, ge=1)
    """Most jobs of one stage at a time."""
    signal_seconds: int = Field(120, ge=1)
    """Seconds before its time limit at which a job receives the signal to stop."""
    max_timeouts: int = Field(1000, ge=0)
    """Number of times that a job may be requeued after its time limit."""
    setup: tuple[str, ...] = ()
    """Shell lines before the work: modules, environments."""
    python: str | None = None
    """Command that starts Python, if not its own path, for example inside a container."""
    scratch: str | None = None
    """Folder of the node for temporary files; may hold variables of the job's shell."""
    sbatch: Flags = {}
    """More flags of sbatch: `wckey = "vision"`, `mail-type = ["END", "FAIL"]`, `no-requeue = true`."""
    srun: tuple[str, ...] = ()
    """More arguments of srun: `["--mpi=pmix", "--container-image=/images/bench.sqsh"]`; no shell reads them."""
    stages: dict[Stage, StageSettings] = {}

    @field_validator("srun")
    @classmethod
    def _check_srun(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return srun_arguments(arguments)

    def flags(self, stage: Stage) -> Flags:
        """Flags of sbatch that the profile gives to a stage's jobs as they are."""
        return {**self.sbatch, **self.stages.get(stage, StageSettings()).sbatch}

    def settings(self, stage: Stage) -> StageSettings:
        """Return the settings of a stage, with those of the profile as defaults."""
        own = self.stages.get(stage, StageSettings())
        general = {name: getattr(self, name) for name in ("partition", "qos", "constraint")}
        return own.model_copy(
            update={name: value for name, value in general.items() if getattr(own, name) is None}
        )

    def share(self, task: str, scale: str, stage: Stage) -> Resources:
        """Return what a job of a task's stage gets of what its recipe asks for. Raises UserError as `capped`."""
        return self.capped(resources(task, scale, stage), stage)

    def capped(self, asked: Resources, stage: Stage) -> Resources:
        """Return what a job gets of what it asks for.

        Raises UserError if it needs GPUs and there are none, or has no time before it is asked to stop.
        """
        own = self.stages.get(stage, StageSettings()).model_dump(exclude_none=True)
        wanted = replace(asked, **{name: value for name, value in own.items() if name in vars(asked)})
        if wanted.gpus and not self.gpus_per_node:
            raise UserError(
                f"stage {stage} asks for {wanted.gpus} GPUs and the profile has none; "
                f"fix: set gpus_per_node in it, or [stages.{stage}] gpus = 0"
            )
        hours = min(wanted.hours, self.max_hours)
        if 3600 * hours <= self.signal_seconds:
            raise UserError(
                f"a job of stage {stage} would be asked to stop as soon as it begins: it has {hours:g} hours, and "
                f"signal_seconds is {self.signal_seconds}; "
                "fix: lower signal_seconds in the profile, or raise max_hours"
            )
        return Resources(
            min(wanted.nodes, self.max_nodes),
            min(wanted.gpus, self.gpus_per_node),
            min(wanted.cpus, self.cpus_per_node),
            min(wanted.memory_gb, self.memory_gb_per_node),
            hours,
        )


def folders() -> list[Path]:
    """Return the folders of profiles: the user's own first, then those of the package."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    own = os.environ.get("BENCH_PROFILES")
    return [*([Path(own)] if own else []), home / "distillation-bench" / "profiles", SHIPPED]


def profile_names() -> dict[str, Path]:
    """All profiles by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            found.setdefault(path.stem, path)
    return found


def anywhere(name: str) -> str:
    """Return a profile's name, or the absolute path of its file."""
    return str(Path(name).absolute()) if name.endswith(".toml") else name


def load_profile(name: str) -> Profile:
    """Read a profile by its name or the path of its file.

    Raises UserError that names the nearest profiles, or the key, its value and the nearest keys.
    """
    path = Path(name) if name.endswith(".toml") else profile_names().get(name)
    if path is None:
        raise unknown("profile", name, profile_names())
    if not path.is_file():
        raise UserError(
            f"no profile {path}; fix: give a name that bench slurm profiles lists, or the path of a .toml file"
        )
    try:
        data = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"profile {path} is not TOML: {error}; fix: correct this place") from None
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise UserError(f"profile {path}: {_mistake(error)}") from None


def _mistake(error: ValidationError) -> str:
    """The first thing that is wrong with a profile, and the nearest that would be right."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        last = str(first["loc"][-1])
        fields = StageSettings.model_fields if len(first["loc"]) > 1 else Profile.model_fields
        return f"unknown key {key!r}; {hint(last, fields)}"
    if first["type"] == "value_error":
        return f"bad value {first['input']!r} for {key!r}: {first['ctx']['error']}"
    reason = _LISTS[key] if first["type"] == "tuple_type" and key in _LISTS else first["msg"]
    return (
        f"bad value {first['input']!r} for {key!r}: {reason}; fix: docs/slurm.md lists the keys and their values"
    )


_LISTS = {
    "setup": 'a list of shell lines, such as ["module load cuda"]',
    "srun": 'a list of arguments, such as ["--mpi=pmix"]',
}
"""Descriptions of lists of texts: pydantic calls a TOML array a tuple."""
