"""The record of a tuning: a grid of recipe values, the result at each of its points, and the best of them.

A grid is tuned on a seed that no result uses. The record is a JSON file, RUNS/tuning/TASK/METHOD-DIGEST.json,
whose name is of what was asked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from bench.core.errors import UserError
from bench.core.files import digest
from bench.metrics.result import Count, Model
from bench.runs.planning import plan_run
from bench.runs.record import Name, Provenance, Record
from bench.runs.records import BEGUN, TUNING, folders_beside, moved_aside, read_model
from bench.runs.registry import Catalogue
from bench.task.base import Task
from bench.training.budget import Budget

TUNING_SEED = 100
"""The training seed of all points of a grid, unless another is given."""


@dataclass(frozen=True)
class Question:
    """What is tuned: the values of a method's recipe that are tried, and all that stays the same."""

    method: str
    task: str
    protocol: str
    """Name of the task's protocol, whose first metric decides."""
    grid: Mapping[str, Sequence[Any]]
    """The values to try of each recipe key; the points are all their combinations."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Further recipe values, the same at every point."""
    seed: int = TUNING_SEED
    budget: Budget | None = None
    """What each training may take; None: the recipe's iterations."""
    recipe_sha256: str = field(default="", kw_only=True)
    """Hash of the method's class, its plug-in file, and its recipe on the task but for the grid's values."""
    protocol_sha256: str = field(default="", kw_only=True)
    """Digest of the protocol as it is here. It is no part of the file's name."""

    def of(self, catalogue: Catalogue, task: Task) -> Question:
        """Return the same question of method and protocol as they are here: one that was changed is tuned again.

        Raises UserError for an unknown method, key or value.
        """
        run = plan_run(catalogue, self.method, task, {**self.fixed, **self.points[0]}, self.seed, Path())
        tried = {*self.grid, *(("iterations",) if self.budget else ())}
        recipe = {key: value for key, value in run.recipe.identity().items() if key not in tried}
        method = digest([run.method.distiller, run.plugin_sha256, recipe])
        return replace(self, recipe_sha256=method, protocol_sha256=task.protocol.digest())

    @property
    def points(self) -> list[dict[str, Any]]:
        """The combinations of the grid's values; the last key varies fastest."""
        return points_of(self.grid)

    def content(self) -> dict[str, Any]:
        """Return the question as plain data, which names its file."""
        return {
            "method": self.method,
            "task": self.task,
            "protocol": self.protocol,
            "grid": {key: list(values) for key, values in self.grid.items()},
            "fixed": dict(self.fixed),
            "seed": self.seed,
            "budget": self.budget.as_dict() if self.budget else None,
            "recipe_sha256": self.recipe_sha256,
        }

    def begun(self, folder: Path) -> Path:
        """Return the file in a folder of runs that names the points until there is an answer."""
        return self.path(folder).with_suffix(BEGUN)

    @property
    def file(self) -> str:
        """The name of the answer's file, TASK/METHOD-DIGEST.json."""
        return _file(self.content())

    def path(self, folder: Path) -> Path:
        """Return the file of the answer in a folder of runs, or in the package's `results`."""
        return folder / TUNING / self.file


_ASKED = {one.name for one in fields(Question)} - {"protocol_sha256"}
"""What names the file of a question and of its answer."""


def _file(content: Mapping[str, Any]) -> str:
    return f"{content['task']}/{content['method']}-{digest(content)[:10]}.json"


class Point(Model):
    """One point of the grid: an ordinary run."""

    values: dict[str, Any]
    run_id: Name
    value: float | None
    """The run's result; None if it diverged."""
    train_seconds: float


class Tuning(Model):
    """The answer to a question."""

    schema_version: Literal[1] = 1
    method: str
    task: Name
    protocol: str
    protocol_sha256: str
    grid: dict[str, list[Any]]
    fixed: dict[str, Any]
    seed: Count
    budget: dict[str, int] | None
    """What each training could take, as `{"passes": 600000}`."""
    recipe_sha256: str
    """`Question.recipe_sha256`."""
    metric: str
    """The protocol's first metric, which chose the point."""
    direction: Literal["lower", "higher"]
    points: list[Point]
    chosen: dict[str, Any]
    """The values of the best point; of equal ones, the first."""
    provenance: Provenance

    @model_validator(mode="after")
    def _is_the_best(self) -> Tuning:
        count = math.prod(len(values) for values in self.grid.values())  # of a stranger's grid, before it is made
        if count != len(self.points) or [point.values for point in self.points] != points_of(self.grid):
            raise ValueError("the points are not those of the grid")
        if len({point.run_id for point in self.points}) < len(self.points):
            raise ValueError("two points are the same run")
        if self.chosen != best(self.points, self.direction).values:
            raise ValueError("the chosen values are not those of the best point")
        return self

    @property
    def file(self) -> str:
        """The name of its file, which is that of the question."""
        return _file(self.model_dump(include=_ASKED))

    def answers(self, question: Question) -> bool:
        """Whether this is the answer to a question."""
        return self.model_dump(include=_ASKED) == question.content()

    def is_of(self, record: Record) -> bool:
        """Whether a record is one of the points, or its recipe has all values that were chosen."""
        chosen, recipe = {**self.fixed, **self.chosen}, record.method.recipe
        if record.run_id in {point.run_id for point in self.points}:
            return True
        same = record.method.name == self.method and record.task == self.task
        return same and all(key in recipe and recipe[key] == value for key, value in chosen.items())

    def edges(self) -> list[str]:
        """Return the keys with three or more values whose first or last one was chosen."""
        return [
            key
            for key, values in self.grid.items()
            if len(values) >= 3 and self.chosen[key] in (values[0], values[-1])
        ]


def points_of(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the combinations of a grid's values; the last key varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def best(points: Iterable[Point], direction: str) -> Point:
    """Return the best point; of equal ones, the first. Raises ValueError if none has a value."""
    sign = 1 if direction == "lower" else -1
    with_value = [
        (sign * point.value, number, point) for number, point in enumerate(points) if point.value is not None
    ]
    if not with_value:
        raise ValueError("no point has a value: all diverged")
    return min(with_value)[2]


def read_tuning(path: Path) -> Tuning:
    """Read one record of a tuning. Raises UserError with the file, the problem and the fix."""
    return read_model(path, Tuning, "record of a tuning", "bench tune")


def tuning_files(folder: Path) -> Iterator[Path]:
    """Yield the files of the tunings of a folder of runs or of records, sorted."""
    for root in folders_beside(folder, TUNING):
        yield from sorted(root.glob("*/[!.]*.json"))


def read_tunings(folder: Path) -> tuple[list[Tuning], list[str]]:
    """Return the tunings of a folder of others' runs or records, and one line for each file that is broken."""
    found, problems = [], []
    for path in tuning_files(folder):
        try:
            found.append(read_tuning(path))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def answer_to(question: Question, folders: Iterable[Path], others: Iterable[Tuning] = ()) -> Tuning | None:
    """Return the answer in the first of these folders that has it, or among `others`; None if none has it.

    What was measured under another version of the protocol is no answer. Raises UserError for a broken file.
    """
    places = (root / question.file for folder in folders for root in folders_beside(folder, TUNING))
    for path in places:
        if path.exists():
            found = read_tuning(path)
            if not found.answers(question):
                raise UserError(
                    f"{path} answers another question than its name says; fix: {moved_aside(path)}, then "
                    "bench tune again"
                )
            if question.protocol_sha256 in ("", found.protocol_sha256):
                return found
    same = (found for found in others if found.answers(question))
    return next((found for found in same if question.protocol_sha256 in ("", found.protocol_sha256)), None)
