"""A run as it is planned: method, task, recipe and seed, and the folder named by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records import Record, read_record
from bench.registry import Catalogue
from methods.catalogue import Method
from methods.recipe import Recipe
from tasks.files import digest
from tasks.task import Baseline, Task

IDENTITY_VERSION = 1
"""Part of every run's name: raised when the same plan comes to mean another computation."""


@dataclass(frozen=True)
class Run:
    """One (method, task, recipe, seed)."""

    method: Method
    origin: str
    task: Task
    recipe: Recipe
    passed: Mapping[str, Any]
    """What the user overrode with --set."""
    seed: int
    root: Path

    @property
    def label(self) -> str:
        """Name for people: `dmd2 on fashion, seed 0`."""
        return f"{self.method.name} on {self.task.name}, seed {self.seed}"

    @property
    def id(self) -> str:
        """Name by content: everything that decides the result, and nothing that does not."""
        content = {
            "version": IDENTITY_VERSION,
            "method": self.method.name,
            "distiller": self.method.distiller,
            "origin": self.origin if self.origin.endswith(")") else "",  # a plug-in file's hash
            "recipe": self.recipe.model_dump(mode="json"),
            "task": self.task.name,
            "assets": self.task.identity(),
            "protocol": self.task.protocol.as_dict(),
            "seed": self.seed,
        }
        return f"{self.method.name}-s{self.seed}-{digest(content)[:10]}"

    @property
    def folder(self) -> Path:
        """Where all of the run lies."""
        return self.root / self.task.name / self.id

    @property
    def record(self) -> Path:
        """The run's result."""
        return self.folder / "record.json"

    def checkpointed(self) -> int:
        """Iterations in the newest checkpoint; 0 if there is none."""
        found = [int(path.stem) for path in (self.folder / "checkpoints").glob("[0-9]*.pt")]
        return max(found, default=0)


@dataclass(frozen=True)
class BaselineRun:
    """One named sampler of a task's teacher, under the task's protocol."""

    baseline: Baseline
    task: Task
    root: Path

    @property
    def id(self) -> str:
        """Name by content."""
        content = {
            "version": IDENTITY_VERSION,
            "sampler": [self.baseline.steps, self.baseline.churn],
            "task": self.task.name,
            "assets": self.task.identity(),
            "protocol": self.task.protocol.as_dict(),
        }
        return f"{self.baseline.name}-{digest(content)[:10]}"

    @property
    def folder(self) -> Path:
        """Where all of the evaluation lies."""
        return self.root / self.task.name / self.id

    @property
    def record(self) -> Path:
        """The evaluation's result."""
        return self.folder / "record.json"


def finished(path: Path) -> Record | None:
    """Return the record of a run that needs no more work: a result, or a divergence, which would repeat."""
    if not path.exists():
        return None
    record = read_record(path)
    over = record.error is None or record.error.type == "DivergedError"
    return record if over else None


def plan_run(
    catalogue: Catalogue, method_name: str, task: Task, overrides: Mapping[str, Any], seed: int, root: Path
) -> Run:
    """Resolve one run. Raises UserError for an unknown method, key or value."""
    entry = catalogue.methods.find(method_name)
    method = entry.load()
    recipe = method.recipe(task.name, task.scale, overrides)
    return Run(method, entry.origin, task, recipe, dict(overrides), seed, root)
