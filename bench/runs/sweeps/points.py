"""The points of a sweep: samplers of the teacher, or students with a number of steps; each is a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import UserError, counted
from bench.core.escape import shell_path
from bench.core.files import path_sha256, read_object, regular_file_or_folder
from bench.core.run_folder import BEST, RECORD, run_of, student_of
from bench.models.descriptions import DESCRIPTION
from bench.runs.plan import BaselineRun, published_name
from bench.runs.record import Record
from bench.runs.records import load_records, other_protocol_path, read_record
from bench.task.base import Task

if TYPE_CHECKING:
    from bench.runs.runner import Runner
    from bench.task.base import PreparedTask


@dataclass(frozen=True)
class Point(ABC):
    """One point of a sweep on a task under its selection protocol."""

    task: Task
    root: Path
    """The folder of the runs."""
    values: Mapping[str, Any]
    """The grid's values at this point."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the sampler or the student."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What distinguishes it from all other points."""

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """Network evaluations for one image; None if only the weights say it."""

    @property
    @abstractmethod
    def command(self) -> str:
        """The options of `bench eval` that measure it."""

    @abstractmethod
    def path(self) -> Path | None:
        """Return the file of its record, or None if there is none yet."""

    @abstractmethod
    def settled(self, prepared: PreparedTask) -> Point:
        """Return the point with the steps that only its weights tell.

        Raises UserError if it cannot be measured on the prepared task, before anything is measured.
        """

    @abstractmethod
    def measure(self, runner: Runner) -> Path:
        """Measure it, write its record and return the file. Raises DivergedError if its images are not finite."""

    def on(self, task: Task) -> Point:
        """Return the same point on the task under another protocol."""
        return replace(self, task=task)

    def finished(self) -> Record | None:
        """Return its record if it is measured."""
        path = self.path()
        return None if path is None else read_record(path)


@dataclass(frozen=True)
class SamplerPoint(Point):
    """A sampler of the teacher with the grid's settings."""

    run: BaselineRun

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def key(self) -> str:
        return self.run.id

    @property
    def evaluations(self) -> int:
        return self.run.baseline.network_evaluations

    @property
    def command(self) -> str:
        return f"--sampler {self.name}"

    def on(self, task: Task) -> SamplerPoint:
        return replace(self, task=task, run=replace(self.run, task=task))

    def path(self) -> Path | None:
        return self.run.record if self.run.finished() is not None else None

    def settled(self, prepared: PreparedTask) -> SamplerPoint:
        guided = self.run.baseline.guidance_scale != 1
        if guided and getattr(prepared, "null_condition", None) is None:
            raise UserError(
                f"the teacher of task {self.task.name!r} has no null condition, so that it has no guidance, and "
                f"{self.name} would have; fix: leave out --guidance"
            )
        return self

    def measure(self, runner: Runner) -> Path:
        runner.baseline(self.run)
        return self.run.record


@dataclass(frozen=True)
class StudentPoint(Point):
    """A student with a number of steps: of a run, or published weights, which belong to no run."""

    checkpoint: Path
    steps: int | None
    """None: the steps that its file says."""
    start: float | None
    """First noise level of a one-step student whose file does not say it."""

    @property
    def name(self) -> str:
        return run_of(self.checkpoint).name if self._of_a_run else published_name(self.checkpoint)

    @property
    def key(self) -> str:
        return f"{self._sha256} {self.steps}"

    @property
    def evaluations(self) -> int | None:
        return self.steps

    @property
    def command(self) -> str:
        steps = "" if self.steps is None else f" --steps {self.steps}"
        return f"--checkpoint {shell_path(self.checkpoint)}{steps}"

    @cached_property
    def _sha256(self) -> str:
        """Hash of the student, computed once since published weights are large."""
        return path_sha256(student_of(self.checkpoint))

    @property
    def _of_a_run(self) -> bool:
        return (student_of(self.checkpoint) / DESCRIPTION).is_file()

    def path(self) -> Path | None:
        if not self._of_a_run:
            return self._published()
        run, protocol = run_of(self.checkpoint), self.task.protocol
        best = self.checkpoint.name == BEST
        if not best and read_record(run / RECORD).protocol_sha256 == protocol.digest():
            return run / RECORD
        other = other_protocol_path(run, protocol.name, protocol.digest(), best)
        return other if other.is_file() else None

    def settled(self, prepared: PreparedTask) -> StudentPoint:
        if self._of_a_run:
            return self
        from bench.runs.students.saved import loaded_student  # only now: torch takes seconds

        _, indices = loaded_student(prepared, self.checkpoint, self.steps, self.start)
        return replace(self, steps=len(indices))

    def measure(self, runner: Runner) -> Path:
        from bench.runs.students.saved import measure_student  # only now: torch takes seconds

        found = measure_student(runner, self.checkpoint, self.steps, self.start, self.root).record or self.path()
        if found is None:
            raise UserError(
                f"{self.checkpoint} is a student of another task than {self.task.name!r}, so that no record keeps "
                "its result; fix: name students of this task"
            )
        return found

    def _published(self) -> Path | None:
        """Return the record of published weights with these steps."""
        if self.steps is None:
            return None  # its record's name is of the steps, which only reading the weights tells
        loaded = load_records([self.root / self.task.name])
        for record, path in zip(loaded.records, loaded.paths, strict=True):
            same = record.checkpoint is not None and record.checkpoint.sha256 == self._sha256
            under = record.protocol_sha256 == self.task.protocol.digest()
            if same and under and record.cost.network_evaluations == self.steps:
                return path
        return None


def student_points(
    task: Task, root: Path, checkpoints: Sequence[Path], steps: Sequence[int] | None, start: float | None
) -> tuple[list[StudentPoint], list[str]]:
    """Return a point for each student and each number of steps that it takes, and a line for each other one.

    Raises UserError for a checkpoint that is missing, has no finished run, or takes none of the steps, and for
    steps that no student takes.
    """
    points, notes = list[StudentPoint](), list[str]()
    for checkpoint in checkpoints:
        known = _steps_of(checkpoint)
        wanted: Sequence[int | None] = [known] if steps is None else steps
        for number in wanted:
            if known in (None, number):
                values = {"checkpoint": str(checkpoint), **({} if number is None else {"steps": number})}
                points.append(StudentPoint(task, root, values, checkpoint, number, start))
            else:
                notes.append(f"{checkpoint} takes {_counted(known)}, so there is no point of it with {number}")
        if not any(point.checkpoint == checkpoint for point in points):
            raise UserError(f"{checkpoint} takes {_counted(known)} and no others; fix: --steps {known}")
    for number in steps or ():
        if not any(point.steps == number for point in points):
            taken = sorted({point.steps for point in points if point.steps is not None})
            raise UserError(
                f"no student takes {_counted(number)}; they take {' and '.join(map(str, taken))}; "
                f"fix: --steps {','.join(map(str, taken))}"
            )
    return points, notes


def _counted(steps: int | None) -> str:
    return counted(steps or 0, "step")


def _steps_of(checkpoint: Path) -> int | None:
    """Return the steps of a run's student; None for published weights, of which a file may take several."""
    if not checkpoint.exists():
        raise UserError(
            f"no folder or file {checkpoint}; --checkpoint takes folders of runs, or students; "
            "fix: bench status lists the runs"
        )
    student = student_of(regular_file_or_folder(checkpoint))
    if not (student / DESCRIPTION).is_file():
        return None
    if not (run_of(checkpoint) / RECORD).is_file():
        raise UserError(
            f"{checkpoint} is a student without a finished run, whose folder would keep its records; "
            "fix: name the folder of a finished run"
        )
    indices = (read_object(student / DESCRIPTION) or {}).get("student_indices")
    if not isinstance(indices, list) or not indices:
        raise UserError(f"{student} is no student: its {DESCRIPTION} names no steps; fix: name a student")
    return len(indices)
