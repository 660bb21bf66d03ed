"""The record of a sweep: the grid, the result at each of its points, and the point that a rule chose.

It is a JSON file, RUNS/sweeps/TASK-MODEL-DIGEST.json, whose name is of what was asked. The points are ordinary
records, and the choice is on seeds that no reported number uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from bench.core.errors import UserError
from bench.core.files import digest
from bench.metrics.result import Count, Model
from bench.runs.record import Name, Provenance
from bench.runs.records import read_model
from bench.runs.sweeps.choice import EVALUATIONS, Direction, Quantities, parse_rule

SWEEPS = "sweeps"
"""The folder of sweeps' records in a folder of runs."""


class SweptMetric(Model):
    """A metric of a sweep, as the records name it."""

    name: str
    title: str
    direction: Direction


class SweptPoint(Model):
    """One point of the grid: an ordinary record."""

    name: str
    """The sampler of the teacher, or the student."""
    values: dict[str, Any]
    """The grid's values at this point."""
    run_id: Name | None
    """None if its images were not finite, so that it has no record."""
    record: str | None
    """The file of the record, in the folder of the runs where it is there."""
    evaluations: Count | None
    """Network evaluations for one image."""
    metrics: dict[str, float | None]
    command: str
    """The options of `bench eval` that measure it under a protocol."""

    @property
    def quantities(self) -> Quantities:
        """Its metrics and its network evaluations, which rules are about."""
        return {**self.metrics, EVALUATIONS: self.evaluations}


class Reported(Model):
    """The result of the chosen point under the protocol that numbers are reported with."""

    run_id: Name
    record: str
    metrics: dict[str, float | None]


class Sweep(Model):
    """A sweep with everything that made it."""

    schema_version: Literal[1] = 1
    task: Name
    model: str
    """What is sampled: the name of the teacher's sampler that is varied, or `students`."""
    grid: dict[str, list[Any]]
    rule: str
    """The rule that chose, as `bench.runs.sweeps.choice.parse_rule` reads it."""
    protocol: dict[str, Any]
    """The selection protocol."""
    protocol_sha256: str
    selection_seeds: tuple[Count, Count]
    """First and last seed of the images on which the point was chosen."""
    reported_protocol: str
    reported_protocol_sha256: str
    reported_seeds: tuple[Count, Count]
    """First and last seed of the images that reported numbers are of."""
    metrics: list[SweptMetric]
    points: list[SweptPoint]
    chosen: Count | None
    """Position of the chosen point; None if no point meets the rule."""
    reported: Reported | None
    """None until the chosen point is measured under the reported protocol."""
    provenance: Provenance

    @model_validator(mode="after")
    def _is_by_the_rule(self) -> Sweep:
        if digest(self.protocol) != self.protocol_sha256:
            raise ValueError("protocol_sha256 is not the digest of protocol")
        (first, last), (begin, end) = self.selection_seeds, self.reported_seeds
        if first <= end and begin <= last:
            raise ValueError("the seeds of the choice are among the reported ones")
        if {name for point in self.points for name in point.metrics} - {one.name for one in self.metrics}:
            raise ValueError("a point has a metric that the sweep has not")
        if any(point in self.points[:number] for number, point in enumerate(self.points)):
            raise ValueError("a point is given twice")
        try:
            chosen = parse_rule(self.rule, self.directions).choose([point.quantities for point in self.points])
        except (UserError, KeyError) as error:
            raise ValueError(f"the rule cannot be applied: {error}") from None
        if chosen != self.chosen:
            raise ValueError("the chosen point is not the one that the rule chooses")
        return self

    @property
    def directions(self) -> dict[str, Direction]:
        """The better direction of each metric, by name."""
        return {one.name: one.direction for one in self.metrics}

    @property
    def choice(self) -> SweptPoint | None:
        """The chosen point."""
        return None if self.chosen is None else self.points[self.chosen]

    def edges(self) -> list[str]:
        """Return the axes with three or more numbers whose least or greatest one was chosen."""
        chosen = self.choice
        return [
            axis
            for axis, values in self.grid.items()
            if chosen is not None
            and len(values) >= 3
            and all(isinstance(value, int | float) for value in values)
            and chosen.values.get(axis) in (min(values), max(values))
        ]


def read_sweep(path: Path) -> Sweep:
    """Read the record of a sweep. Raises UserError with the file, the problem and the fix."""
    return read_model(path, Sweep, "record of a sweep", "bench sweep")
