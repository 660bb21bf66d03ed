"""The table of what a request asked to be run."""

from __future__ import annotations

from bench.jobs.request import PlannedRequest
from bench.report.table import ReportTable, task_table
from bench.runs.records import load_records


def table_of(planned: PlannedRequest) -> ReportTable:
    """Return the table of all that is recorded of a request's runs and baselines."""
    records = load_records([one.folder for one in (*planned.runs, *planned.baselines)]).records
    return task_table(records, planned.task.name)
