"""Results of planned runs, as if they had been trained."""

from __future__ import annotations

from typing import Any

from example_records import EXAMPLE, changed

from bench.runs.plan import Run
from bench.runs.record import Record
from bench.runs.records import write_record


def write_result(run: Run, fd: float | None, created: str = "2026-01-01") -> Record:
    """Write a run's record with this FD; None: it diverged."""
    values: dict[str, Any] = {
        "run_id": run.id,
        "task": run.task.name,
        "method": run.method_info.model_dump(mode="json"),
        "protocol": run.task.protocol.as_dict(),
        "train_seed": run.seed,
        "metrics.0.value": fd,
        "cost.iterations": run.recipe.iterations,
        "provenance.created": created,
    }
    if fd is None:
        failure = {"type": "DivergedError", "message": "a loss is NaN", "traceback": "", "log_tail": []}
        values |= {"status": "failed", "error": failure, "metrics": [], "checkpoint": None}
        del values["metrics.0.value"]
    record = Record.model_validate(changed(EXAMPLE, values))
    write_record(run.record, record)
    return record
