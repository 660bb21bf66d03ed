"""The data that trackers get about a run with its log: its configuration, and the results of its record."""

from __future__ import annotations

import json
from typing import Any

from bench.core.escape import printable
from bench.runs.plan import Run
from bench.runs.record import Record
from bench.training.tracker import TrackedRun


def tracked_run(run: Run) -> TrackedRun:
    """Describe a run to trackers. Its values are texts and numbers alone, as all trackers take them."""
    values = {
        "run_id": run.id,
        "method": run.method.name,
        "task": run.task.name,
        "seed": run.seed,
        "protocol": run.task.protocol.name,
        "protocol_sha256": run.task.protocol.digest(),
        **{f"recipe/{name}": value for name, value in run.recipe.model_dump(mode="json").items()},
    }
    return TrackedRun(run.task.name, run.id, {name: _plain(value) for name, value in values.items()})


def results_of(record: Record) -> dict[str, float]:
    """Return the values of a record's metrics; a failed run has none."""
    return {one.name: one.value for one in record.metrics if one.value is not None}


def _plain(value: Any) -> bool | int | float | str:
    """Return a value as a number or as text: `none` as `--set` takes it, and a list as JSON."""
    if isinstance(value, bool | int | float):
        return value
    return printable("none" if value is None else value if isinstance(value, str) else json.dumps(value))
