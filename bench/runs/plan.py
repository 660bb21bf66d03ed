"""Plans, which are named by their content: runs of methods and evaluations of the teacher's samplers."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.core.errors import UserError
from bench.core.files import digest, file_sha256, read_object, write_text
from bench.core.path_names import path_name
from bench.core.run_folder import BEST, CHECKPOINTS, PLAN, RECORD, checkpoints
from bench.core.stopping import DivergedError
from bench.runs.argv import user_argv
from bench.runs.record import MethodInfo, Record
from bench.runs.records import read_record
from bench.task.base import Task
from bench.task.declaration import Baseline
from bench.training.best import read_best
from bench.training.method import Method
from bench.training.recipe import Recipe

IDENTITY_VERSION = 1
"""Part of every name. It is increased when the same plan starts to mean another computation."""


def stem_of(name: str) -> str:
    """Return a name that a user chose freely as the readable part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", name)


@dataclass(frozen=True)
class Planned(ABC):
    """Something to evaluate on a task, in a folder whose name depends on everything that decides the result."""

    task: Task
    root: Path

    kind: ClassVar[Literal["method", "baseline"]]

    @property
    @abstractmethod
    def label(self) -> str:
        """Name in messages."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """The readable part of the folder's name."""

    @property
    @abstractmethod
    def method_info(self) -> MethodInfo:
        """The method with its recipe, as in the record."""

    @property
    @abstractmethod
    def train_seed(self) -> int | None:
        """The training seed; None if nothing is trained."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Return everything that decides the result besides the task, and nothing else."""

    @property
    def id(self) -> str:
        """The name by content: the same plan has the same name on every machine."""
        return self.id_of(self.content())

    def id_of(self, content: Mapping[str, Any]) -> str:
        """Return the name that a plan with this `content()` has."""
        shared = {
            "version": IDENTITY_VERSION,
            "task": self.task.name,
            "assets": self.task.identity(),
            "protocol": self.task.protocol.as_dict(),
        }
        return f"{self.stem}-{digest(shared | dict(content))[:10]}"

    @property
    def folder(self) -> Path:
        """The folder of all its files."""
        return self.root / self.task.name / self.id

    @property
    def record(self) -> Path:
        """The file of the result."""
        return self.folder / RECORD

    def checkpointed(self) -> int:
        """Return the number of iterations in the newest checkpoint, or 0 if there is none."""
        found = checkpoints(self.folder / CHECKPOINTS)
        return int(found[-1].stem) if found else 0

    def description(self) -> dict[str, Any]:
        """Return the whole plan as JSON data, which bench.runs.planning.read_plan reads back."""
        return {
            "run_id": self.id,
            "kind": self.kind,
            **self.method_info.model_dump(mode="json"),
            "task": self.task.name,
            "assets": self.task.identity(),
            "protocol": self.task.protocol.as_dict(),
            "seed": self.train_seed,
        }

    def begin(self, plugins: Iterable[Path] = ()) -> None:
        """Write the plan, command line and plug-ins into its folder, unless a job started from a plan there."""
        if (read_object(self.folder / PLAN) or {}).get("run_id") != self.id:
            hashes = {str(path.absolute()): file_sha256(path) for path in plugins}
            plan = {**self.description(), "argv": user_argv(), "plugins": hashes}
            write_text(self.folder / PLAN, json.dumps(plan, indent=2) + "\n")

    def finished(self) -> Record | None:
        """Return the record if nothing is left to do: it has a result, or a divergence, which would repeat."""
        if not self.record.exists():
            return None
        record = read_record(self.record)
        over = record.error is None or record.error.type == DivergedError.__name__
        return record if over else None


@dataclass(frozen=True)
class Run(Planned):
    """One (method, task, recipe, seed)."""

    method: Method
    origin: str
    plugin_sha256: str
    """Hash of the plug-in file or package that defines the method; empty for one that comes with this package."""
    recipe: Recipe
    passed: Mapping[str, Any]
    """The recipe values that the user gave with --set."""
    seed: int

    kind: ClassVar[Literal["method", "baseline"]] = "method"

    @property
    def label(self) -> str:
        return f"{self.method.name} on {self.task.name}, seed {self.seed}"

    @property
    def stem(self) -> str:
        return f"{self.method.name}-s{self.seed}"

    @property
    def method_info(self) -> MethodInfo:
        return MethodInfo(
            name=self.method.name,
            origin=self.origin,
            distiller=self.method.distiller,
            plugin_sha256=self.plugin_sha256,
            passed={key: str(value) if isinstance(value, Path) else value for key, value in self.passed.items()},
            recipe=self.recipe.model_dump(mode="json"),
        )

    @property
    def train_seed(self) -> int | None:
        return self.seed

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "method": self.method.name,
            "distiller": self.method.distiller,
            "plugin": self.plugin_sha256,
            "recipe": self.recipe.identity(),
            "seed": self.seed,
        }
        if self.recipe.init_from is not None:
            found["init_from"] = _finished_student(self.recipe.init_from)
        if used := self.task.identity_of(self.recipe.roles):
            found["uses"] = used
        return found


def _finished_student(folder: Path) -> str:
    """Return the hash of a finished run's student, or of the one in its `best` folder. Raises UserError."""
    best = read_best(folder)
    if best is None and folder.name == BEST:
        raise UserError(f"init_from: there is no {folder}; fix: repeat that run with --set keep_best=true")
    run = folder if best is None else folder.parent
    if not (run / RECORD).is_file():
        raise UserError(
            f"init_from: {run} is not the folder of a finished run: it contains no {RECORD}; "
            "fix: name the folder of a finished run"
        )
    checkpoint = read_record(run / RECORD).checkpoint
    if checkpoint is None:
        raise UserError(
            f"init_from: the run in {run} failed and has no student; fix: name the folder of a finished run"
        )
    return checkpoint.sha256 if best is None else best.sha256


@dataclass(frozen=True)
class Untrained(Planned):
    """Something to evaluate without training."""

    kind: ClassVar[Literal["method", "baseline"]] = "baseline"

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the sampler, or of the weights."""

    @property
    def stem(self) -> str:
        return stem_of(self.name)

    @property
    def label(self) -> str:
        return f"{self.name} on {self.task.name}"

    @property
    def method_info(self) -> MethodInfo:
        return MethodInfo(name=self.name, origin="", distiller="", passed={}, recipe={})

    @property
    def train_seed(self) -> int | None:
        return None


@dataclass(frozen=True)
class BaselineRun(Untrained):
    """The evaluation of one named sampler of a task's teacher, under the task's protocol."""

    baseline: Baseline

    @property
    def name(self) -> str:
        return self.baseline.name

    @property
    def stem(self) -> str:
        return self.name  # of signs that folders may have: with another stem, its id would be another

    def content(self) -> dict[str, Any]:
        return {"sampler": self.baseline.identity()}

    def sampler(self) -> dict[str, Any]:
        """Return the sampler's values for the record."""
        return asdict(self.baseline)


def published_name(path: Path) -> str:
    """Return the name of published weights: that of their file, without its suffix, or of their folder."""
    name = path_name(path)
    return name if path.is_dir() else Path(name).stem


@dataclass(frozen=True)
class PublishedRun(Untrained):
    """The evaluation of published weights of a few-step generator, under the task's protocol."""

    file: str
    """Name of the weights' file or folder, without its suffix."""
    sha256: str
    """Hash of the weights."""
    sampler: Mapping[str, Any]
    """Description of the sampler for the record."""

    @property
    def name(self) -> str:
        return self.file

    def content(self) -> dict[str, Any]:
        return {"weights": self.sha256, "sampler": dict(self.sampler)}
