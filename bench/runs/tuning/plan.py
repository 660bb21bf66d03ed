"""The runs of a tuning, one for each point of the grid, and the record that they make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError, counted, listed
from bench.core.files import write_text
from bench.core.run_folder import LOG
from bench.runs.argv import set_options
from bench.runs.plan import Run
from bench.runs.planning import plan_run, refuse_idle_overrides
from bench.runs.record import Record
from bench.runs.records import write_model
from bench.runs.registry import Catalogue
from bench.runs.states.lock import UnderWayError, is_locked
from bench.runs.suites.settled import recipe_of
from bench.runs.tuning.record import Point, Question, Tuning, best, read_tuning
from bench.task.base import Task


@dataclass(frozen=True)
class TuningPlan:
    """A question and the runs that answer it."""

    question: Question
    runs: Sequence[Run]
    """One for each point of the grid, in its order."""
    root: Path

    @classmethod
    def of(cls, question: Question, catalogue: Catalogue, task: Task, root: Path) -> TuningPlan:
        """Plan the runs of a question, each within its budget.

        Raises UserError for an unknown method, key or value, for a key that has no effect at any point, and for
        two points that are the same run.
        """
        runs = []
        for point in question.points:
            values = {**question.fixed, **point}
            if question.budget is not None:
                recipe = recipe_of(question.method, values, catalogue, task)
                values["iterations"] = question.budget.iterations(recipe, question.method)
            runs.append(plan_run(catalogue, question.method, task, values, question.seed, root))
        refuse_idle_overrides(runs, {**question.fixed, **question.grid})
        known: dict[str, dict[str, object]] = {}
        for run, point in zip(runs, question.points, strict=True):
            if run.id in known:
                raise UserError(
                    f"{_shown(known[run.id])} and {_shown(point)} are one run of {question.method}, {run.id}; "
                    "fix: leave out values that change no result"
                )
            known[run.id] = point
        return cls(question, runs, root)

    @property
    def metric(self) -> str:
        """The name of the metric that decides: the first of the task's protocol."""
        return self.runs[0].task.protocol.metrics[0]

    @property
    def path(self) -> Path:
        """The file of the record."""
        return self.question.path(self.root)

    @property
    def title(self) -> str:
        """What is tuned, for people."""
        asked = self.question
        budget = f", {asked.budget} each" if asked.budget else ""
        points = counted(len(self.runs), "point")
        return f"{asked.method} on {asked.task}, seed {asked.seed}: {points}{budget}"

    def lines(self) -> Iterator[str]:
        """Yield the title, and the values and the run of each point."""
        yield f"{self.title}; {self.path}"
        for values, run in zip(self.question.points, self.runs, strict=True):
            yield f"  {_shown(values):<44} {run.id}"

    def answer(self) -> Tuning:
        """Return the record of the tuning. A point that diverged has no value.

        Raises UserError if a run is not finished, whether another command works on it or not, or if all diverged.
        """
        found = [run.finished() for run in self.runs]
        records = [record for record in found if record is not None]
        if len(records) < len(found):
            missing = [run for run, record in zip(self.runs, found, strict=True) if record is None]
            if busy := [run.folder for run in missing if is_locked(run.folder)]:
                raise UserError(f"{self.question.method} is not tuned yet: {UnderWayError(busy)}")
            names = listed(run.id for run in missing)
            raise UserError(
                f"{self.question.method} is not tuned, since {len(missing)} of {len(found)} runs have no result: "
                f"{names}; see {LOG} in their folders; fix: the same command tries them again"
            )
        points = [self._point(*one) for one in zip(self.question.points, self.runs, records, strict=True)]
        measured = [metric for record in records for metric in record.metrics if metric.name == self.metric]
        if all(point.value is None for point in points):
            raise UserError(
                f"{self.question.method} is not tuned, since all its {len(points)} runs diverged; fix: other "
                "values, such as smaller learning rates"
            )
        from bench.runs.provenance import provenance  # only now: torch takes seconds

        direction = measured[0].direction
        return Tuning(
            **self.question.content(),
            protocol_sha256=records[0].protocol_sha256,
            metric=self.metric,
            direction=direction,
            points=points,
            chosen=best(points, direction).values,
            provenance=provenance("fp32"),
        )

    def begin(self) -> None:
        """Write which runs are points of the tuning, so that none counts as a result before there is an answer."""
        if not self.path.exists():
            points = [
                {"values": point, "run_id": run.id}
                for point, run in zip(self.question.points, self.runs, strict=True)
            ]
            write_text(self.question.begun(self.root), json.dumps({"points": points}, indent=2) + "\n")

    def write(self) -> Tuning:
        """Write the record of the tuning and return it. Raises UserError as `answer` does."""
        found = self.answer()
        write_model(self.path, found, read_tuning)
        self.question.begun(self.root).unlink(missing_ok=True)
        return found

    def _point(self, values: dict[str, object], run: Run, record: Record) -> Point:
        value = next((metric.value for metric in record.metrics if metric.name == self.metric), None)
        return Point(values=values, run_id=run.id, value=value, train_seconds=record.cost.train_seconds)


def tuning_lines(found: Tuning, plan: TuningPlan, options: str = "") -> Iterator[str]:
    """Yield a line for each point, the best one marked, and lines on what was chosen and how to run it.

    `options` are further ones of that command. Its seeds are others than the one that chose.
    """
    for point in found.points:
        result = "diverged" if point.value is None else f"{found.metric} {point.value:.6g}"
        mark = "*" if point.values == found.chosen else " "
        yield f"{mark} {_shown(point.values):<44} {result:<20} {point.run_id}"
    if edges := found.edges():
        yield f"note: {', '.join(edges)} at the edge of the grid; values beyond it may be better"
    chosen = plan.runs[plan.question.points.index(found.chosen)]
    seeds = ",".join([str(seed) for seed in range(4) if seed != found.seed][:3])
    yield f"tuning: {plan.path}"
    values = set_options(chosen.passed)
    yield f"run: bench run --method {found.method} --task {found.task}{options} --seed {seeds}{values}"


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
