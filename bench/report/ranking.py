"""Which rows of a table are the best and the second in a metric, as far as training seeds show it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd

from bench.report.summary import TRAINING_SEEDS


def best_rows(lines: list[dict[str, dict[str, Any]]], name: str) -> list[int]:
    """Return the row whose trained student beats every other by more than both intervals over training seeds."""
    return ranked_rows(lines, name)[:1]


def ranked_rows(lines: list[dict[str, dict[str, Any]]], name: str) -> list[int]:
    """Return the best row, and the second; each only if it is shown to be it.

    The best trained student beats every other by more than both intervals over training seeds. The second exists
    only beside a best: it beats all others but the best in the same way. If any row has fewer than two training
    seeds, there is neither, because an interval over generation seeds is not evidence about the method. A row
    whose seeds have equal values has no interval, and is never shown to be better. A checkpoint selected by the
    test metric does not compete.
    """
    rivals = [
        (number, metrics[name])
        for number, metrics in enumerate(lines)
        if name in metrics and metrics[name]["kind"] == "method" and pd.notna(metrics[name]["value"])
        if metrics[name]["selection"] != "best-by-test-metric"
    ]
    if any(row["interval"] != TRAINING_SEEDS for _, row in rivals):
        return []
    ordered = sorted((*_span(row), number) for number, row in rivals)
    shown = []
    for (best, worst, number), (nearest, _, _) in pairwise(ordered[:3]):
        if worst >= nearest or worst == best:  # equal values have no error that a lead could exceed
            break
        shown.append(number)
    return shown


def _span(row: dict[str, Any]) -> tuple[float, float]:
    """Return a row's interval, the better end first, with its sign set so that lower is better."""
    return (row["low"], row["high"]) if row["direction"] == "lower" else (-row["high"], -row["low"])
