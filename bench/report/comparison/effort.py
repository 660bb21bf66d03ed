"""What the sides of a comparison spent, where it is not the same: no test makes budgets equal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.report.sides import Side

TOLERANCE = 1.1
"""Training that differs by less than this factor counts as equal: a budget holds a whole number of iterations."""


def unequal_effort(sides: Sequence[Side]) -> list[str]:
    """Say where trained students had unequal trainings, or take unequal numbers of network evaluations.

    Trainings are compared by the counted passes, or by the training images where one of them has no count.
    """
    trained = [side for side in sides if side.first.kind == "method"]
    if len(trained) < 2:
        return []
    spent, what = [_mean(side, [record.cost.work for record in side.records]) for side in trained], "passes"
    if None in spent:
        spent = [_mean(side, [record.cost.generated_images for record in side.records]) for side in trained]
        what = "training images"
    differ = []
    amounts = [one for one in spent if one is not None]
    if max(amounts) > TOLERANCE * min(amounts):
        differ.append(f"{what} of a training: {_listed(trained, amounts)}")
    steps = [side.first.cost.network_evaluations for side in trained]
    if len(set(steps)) > 1:
        differ.append(f"network evaluations of an image: {_listed(trained, steps)}")
    return [f"Not equal: {one}. A test says that results differ, and not why." for one in differ]


def _mean(side: Side, values: Sequence[float | None]) -> float | None:
    """Return the mean over training seeds; None if a record has no number."""
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if len(numbers) == len(side.records) else None


def _listed(sides: Sequence[Side], amounts: Sequence[float | None]) -> str:
    return "; ".join(
        f"{side.label} {'unknown' if amount is None else f'{amount:,.0f}'}"
        for side, amount in zip(sides, amounts, strict=True)
    )
