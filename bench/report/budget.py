"""Whether the rows of a suite kept its budget, by what their trainings took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.report.lines import Assigned
from bench.runs.record import Cost
from bench.runs.suites.suite import SuiteScale
from bench.training.budget import Unit

COST = "correct cost() of its recipe, and tune and train it again"


class _Taken(NamedTuple):
    """What a training took, in the unit of a budget."""

    what: str
    amount: Callable[[Cost], float | None]
    """None if it was not counted."""
    by_chance: float
    """The share by which it may exceed a budget."""
    fix: str
    """What to do where a recipe exceeds it."""


TAKEN: Mapping[Unit, _Taken] = {
    # The steps that backward simulation draws are as many as expected only on average.
    "passes": _Taken("passes that were counted", lambda cost: cost.work, 0.05, COST),
    "images": _Taken("training images", lambda cost: cost.generated_images, 0, "train it within the budget"),
    "generator_updates": _Taken(
        "generator updates that were counted", lambda cost: cost.generator_updates, 0, COST
    ),
}


def over_budget(scale: SuiteScale, assigned: Assigned) -> str:
    """Name the lines whose trainings took more than the suite allows; empty if none did."""
    if scale.budget is None:
        return ""
    taken = TAKEN[scale.budget.unit]
    most: dict[str, float] = {}
    for record, number in assigned:
        amount = taken.amount(record.cost) if record.kind == "method" else None
        if number is not None and amount is not None and amount > scale.budget.amount * (1 + taken.by_chance):
            label = assigned.lines[number].label
            most[label] = max(amount, most.get(label, 0.0))
    if not most:
        return ""
    took = "; ".join(f"{label}: {amount:,.0f}" for label, amount in most.items())
    return f"Over this budget by the {taken.what}: {took}. Its numbers are not at equal budget; fix: {taken.fix}."
