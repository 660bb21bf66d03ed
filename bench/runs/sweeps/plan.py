"""A sweep: its points on a task's selection protocol, their measurement, and the record that they make."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import counted
from bench.core.files import digest
from bench.core.progress import Progress
from bench.core.stopping import DivergedError
from bench.runs.plan import BaselineRun
from bench.runs.protocols.derived import seeds_of
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.runs.sweeps.choice import Rule
from bench.runs.sweeps.points import Point, SamplerPoint
from bench.runs.sweeps.record import SWEEPS, Reported, Sweep, SweptMetric, SweptPoint
from bench.task.base import Task
from bench.task.variations import variation

if TYPE_CHECKING:
    from bench.runs.runner import Runner


def sampler_points(
    task: Task, root: Path, samplers: Sequence[str], grid: Mapping[str, Sequence[Any]]
) -> list[SamplerPoint]:
    """Return a point for each sampler and each combination of settings; the last setting varies fastest.

    Combinations that are the same sampler are one point. Raises UserError for an unknown sampler, a setting that
    it does not have, and a value that it cannot take.
    """
    found: dict[str, SamplerPoint] = {}
    for sampler in samplers:
        for combination in itertools.product(*grid.values()):
            settings = dict(zip(grid, combination, strict=True))
            baseline = variation(task.baselines, sampler, settings)
            values = {**({"sampler": sampler} if len(samplers) > 1 else {}), **settings}
            point = SamplerPoint(task, root, values, BaselineRun(task, root, baseline))
            found.setdefault(point.key, point)
    return list(found.values())


@dataclass(frozen=True)
class SweepPlan:
    """The points of a sweep, how one of them is chosen, and the protocol that it is reported with."""

    task: Task
    """The task under the selection protocol."""
    reported: Task
    """The task under the protocol of reported numbers."""
    model: str
    """The sampler that is varied, or `students`."""
    grid: Mapping[str, Sequence[Any]]
    rule: Rule
    metrics: Sequence[SweptMetric]
    """The selection protocol's metrics, as records name them."""
    points: Sequence[Point]
    root: Path

    @property
    def path(self) -> Path:
        """The file of the record, whose name is of the points, the protocols and the rule."""
        asked = [self.task.protocol.digest(), self.reported.protocol.digest(), str(self.rule)]
        short = digest([*asked, [point.key for point in self.points]])[:10]
        return self.root / SWEEPS / f"{self.task.name}-{self.model}-{short}.json"

    def measured(self) -> list[Record | None]:
        """Return the records of the points; None for a point without one."""
        return [point.finished() for point in self.points]

    def lines(self) -> Iterator[str]:
        """Yield what is measured and chosen, the cost and the state of each point, and what is left to do."""
        protocol = self.task.protocol
        images = protocol.samples * protocol.repetitions
        yield from self.header()
        left, unknown = 0, 0
        for point, record in zip(self.points, self.measured(), strict=True):
            evaluations = record.cost.network_evaluations if record else point.evaluations
            total = None if evaluations is None else images * evaluations
            left += 0 if record or total is None else total
            unknown += not record and total is None
            each = "?" if evaluations is None else str(evaluations)
            cost = "unknown" if total is None else f"{total:,}"
            yield f"  {point.name:<44}{each:>5} x {images:,} = {cost} network evaluations   " + (
                "done" if record else "new"
            )
        beside = f", and those of {counted(unknown, 'point')} of unknown cost" if unknown else ""
        yield f"left: {left:,} network evaluations{beside}"

    def header(self) -> Iterator[str]:
        """Yield the seeds and the rule of the choice."""
        protocol, own = self.task.protocol, self.reported.protocol
        first, last = seeds_of(protocol)
        yield (
            f"{self.model} on {self.task.name}: {counted(len(self.points), 'point')} under protocol "
            f"{protocol.name}, {protocol.samples:,} images each"
            + (f" in {protocol.repetitions} repetitions" if protocol.repetitions > 1 else "")
        )
        yield (
            f"rule: {self.rule}; of equal points the one with fewer network evaluations; on seeds {first:,} to "
            f"{last:,}, which no reported number uses ({own.name}: {seeds_of(own)[0]:,} to {seeds_of(own)[1]:,})"
        )

    def measure(self, runner: Runner, progress: Progress) -> SweepPlan:
        """Measure the points that are not measured yet, each with a line when it is done.

        Returns the plan with the steps of published weights, by which their records are found.
        A point whose images are not finite has no record. Raises UserError before anything is measured if a point
        cannot be: guidance of a teacher that has none, or steps that published weights do not have.
        """
        points = [
            point if record else point.settled(runner.prepared)
            for point, record in zip(self.points, self.measured(), strict=True)
        ]
        plan = replace(self, points=points)
        records = plan.measured()
        done = sum(record is not None for record in records)
        with progress.bar("sweep", len(points), done) as bar:
            for point, record in zip(points, records, strict=True):
                if record is None:
                    try:
                        found = read_record(point.measure(runner))
                        values = {one.name: one.value for one in found.metrics}
                        said = ", ".join(f"{one} {_shown(values.get(one))}" for one in self.rule.metrics) or "done"
                    except DivergedError as error:
                        said = f"no result: {error}"
                    done += 1
                    bar.advance()
                    progress.note(f"{done}/{len(points)} {point.name}: {said}")
        return plan

    def answer(self) -> Sweep:
        """Return the record of the sweep, from those of its points."""
        from bench.runs.provenance import provenance  # only now: torch takes seconds

        swept = [self._swept(point, record) for point, record in zip(self.points, self.measured(), strict=True)]
        chosen = self.rule.choose([point.quantities for point in swept])
        protocol = self.task.protocol
        return Sweep(
            task=self.task.name,
            model=self.model,
            grid={axis: list(values) for axis, values in self.grid.items()},
            rule=str(self.rule),
            protocol=protocol.as_dict(),
            protocol_sha256=protocol.digest(),
            selection_seeds=seeds_of(protocol),
            reported_protocol=self.reported.protocol.name,
            reported_protocol_sha256=self.reported.protocol.digest(),
            reported_seeds=seeds_of(self.reported.protocol),
            metrics=list(self.metrics),
            points=swept,
            chosen=chosen,
            reported=None if chosen is None else self._reported(self.points[chosen]),
            provenance=provenance("fp32"),
        )

    def _swept(self, point: Point, record: Record | None) -> SweptPoint:
        path = point.path()
        known = {one.name: one.value for one in record.metrics} if record else {}
        return SweptPoint(
            name=point.name,
            values=dict(point.values),
            run_id=record.run_id if record else None,
            record=None if path is None else self._place(path),
            evaluations=record.cost.network_evaluations if record else point.evaluations,
            metrics={one.name: known.get(one.name) for one in self.metrics},
            command=point.command,
        )

    def _reported(self, point: Point) -> Reported | None:
        """Return the chosen point's result under the reported protocol, if it is measured."""
        there = point.on(self.reported)
        path, record = there.path(), there.finished()
        if path is None or record is None:
            return None
        metrics = {one.name: one.value for one in record.metrics}
        return Reported(run_id=record.run_id, record=self._place(path), metrics=metrics)

    def _place(self, path: Path) -> str:
        """Return a record's path in the folder of the runs, or the whole path where it lies elsewhere."""
        path, root = path.resolve(), self.root.resolve()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def choice_lines(found: Sweep, options: str = "") -> Iterator[str]:
    """Yield which point was chosen, by which rule and on which seeds, its reported result, and what comes next.

    `options` are further ones of the command that comes next (`Task.options`).
    """
    rule = f"{found.rule}; of equal points the one with fewer network evaluations"
    chosen = found.choice
    if chosen is None:
        yield f"chosen: no point, since none meets the rule: {rule}"
        return
    values = ", ".join(f"{name} {_shown(value)}" for name, value in chosen.metrics.items())
    yield f"chosen: {chosen.name}: {values}, {chosen.evaluations} network evaluations"
    (first, last), (begin, end) = found.selection_seeds, found.reported_seeds
    yield f"rule: {rule}"
    yield f"seeds of the choice: {first:,} to {last:,}; reported numbers are of {begin:,} to {end:,}"
    if edges := found.edges():
        yield f"note: {', '.join(edges)} at the edge of the grid; values beyond it may be better"
    if found.reported is None:
        named = f" --protocol {shlex.quote(found.reported_protocol)}"
        protocol = "" if found.reported_protocol == found.task else named
        where = f"--task {found.task}{options}{protocol}"
        yield f"next: bench eval {where} {chosen.command}    # its number for a table"
    else:
        values = ", ".join(f"{name} {_shown(value)}" for name, value in found.reported.metrics.items())
        yield f"reported under {found.reported_protocol}: {values}; record: {found.reported.record}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
