"""A sweep of the teacher of `fashion-flow`, and results of its points as if they had been measured."""

from __future__ import annotations

import copy
from pathlib import Path

from example_records import SAMPLER, changed

from bench.runs.protocols.derived import with_selection_seeds
from bench.runs.record import Record
from bench.runs.records import write_record
from bench.runs.registry import Catalogue
from bench.runs.sweeps.choice import Rule
from bench.runs.sweeps.plan import SweepPlan, sampler_points
from bench.runs.sweeps.points import Point, SamplerPoint
from bench.runs.sweeps.record import SweptMetric

METRICS = [
    SweptMetric(name="fd", title="FD (fashion-cnn64)", direction="lower"),
    SweptMetric(name="recall", title="Recall", direction="higher"),
]


def planned(catalogue: Catalogue, root: Path) -> SweepPlan:
    """Return a sweep over three numbers of steps, each without and with guidance."""
    task = catalogue.tasks.get("fashion-flow")
    selecting = with_selection_seeds(task, 500)
    grid: dict[str, list[float]] = {"steps": [2, 4, 8], "guidance": [1.0, 2.0]}
    points = sampler_points(selecting, root, ["teacher-ode"], grid)
    return SweepPlan(selecting, task, "teacher-ode", grid, Rule("lower", "fd"), METRICS, points, root)


def write_point(point: Point, fd: float, recall: float) -> Record:
    """Write the record of a sampler's point with these results."""
    assert isinstance(point, SamplerPoint)
    metric = SAMPLER["metrics"][0]
    values = {
        "metrics": [
            metric | {"name": "fd", "value": fd, "direction": "lower"},
            metric | {"name": "recall", "value": recall, "direction": "higher"},
        ],
        "run_id": point.run.id,
        "task": point.task.name,
        "method": point.run.method_info.model_dump(mode="json"),
        "protocol": point.task.protocol.as_dict(),
        "sampler": point.run.sampler(),
        "cost.network_evaluations": point.evaluations,
    }
    record = Record.model_validate(changed(copy.deepcopy(SAMPLER), values))
    write_record(point.run.record, record)
    return record
