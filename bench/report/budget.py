"""Whether the rows of a suite kept its budget, by the passes that were counted in training."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.lines import Line, owners
from bench.runs.record import Record
from bench.runs.suites.suite import SuiteScale

BY_CHANCE = 0.05
"""Share by which counted passes may exceed a budget: the steps that backward simulation draws are as many as
expected only on average."""


def over_budget(scale: SuiteScale, lines: Sequence[Line], records: Sequence[Record]) -> str:
    """Name the lines whose trainings took more passes than the suite allows, by the counts; empty if none did."""
    if scale.budget is None or scale.budget.unit != "passes":
        return ""
    most: dict[str, float] = {}
    for record, number in zip(records, owners(lines, records), strict=True):
        work = record.cost.work if record.kind == "method" else None
        if number is not None and work is not None and work > scale.budget.amount * (1 + BY_CHANCE):
            most[lines[number].label] = max(work, most.get(lines[number].label, 0.0))
    if not most:
        return ""
    took = "; ".join(f"{label}: {work:,.0f}" for label, work in most.items())
    return (
        f"Over this budget by the passes that were counted: {took}. Its numbers are not at equal budget; fix: "
        "correct cost() of its recipe, and tune and train it again."
    )
