"""The text of a table's cells, but for the metrics' values (bench.report.measured)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.core.files import human_size
from bench.metrics.result import MetricResult
from bench.metrics.titles import TIMES, shown_name, shown_title
from bench.report.measured import NOTHING, decimals, fixed
from bench.report.summary import COUNTS, GENERATION_SEEDS, standard_error
from bench.runs.recipes import DIGITS

NO_RECORD = ("missing", "quoted")
"""Statuses of lines that have no record."""
_COST = (
    *("checkpoint", "NFE", "iterations", "generator updates", "training images", "passes"),
    *("train s", "compute", "evaluate s", "peak memory"),
)


def header(title: str, direction: str) -> str:
    """Return a metric's title with the arrow that says which values are better."""
    return f"{title} {'↓' if direction == 'lower' else '↑'}"


def percent(share: float) -> str:
    """Format a share, such as the level of an interval: 95 %."""
    return f"{100 * share:.10g} %"


def number(value: float | None, more: int = 0) -> str:
    """Format a value as the paper does: a whole number, two decimals, or three below 1, or `more` than these."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return str(value)
    return fixed(value, decimals(value) + more)


def one_result(metric: MetricResult, protocol: Mapping[str, Any]) -> str:
    """Return the line for one metric of one student or sampler: its value and its uncertainty."""
    times = TIMES.get(shown_name(metric.name, protocol), 1)
    title = shown_title(metric.name, metric.title, protocol)
    if metric.value is None:
        return f"{title:<28} {NOTHING}"
    text = f"{title:<28} {times * metric.value:.6g}"
    if metric.low is not None and metric.high is not None:
        text += f"  [{times * metric.low:.6g}, {times * metric.high:.6g}] over {GENERATION_SEEDS}"
    error = standard_error(metric)
    return text if error is None else f"{text}  SE {times * error:.3g} over images"


def recipe(row: dict[str, Any]) -> str:
    """Name a recipe by the user's overrides and the first digits of the digest of all its values."""
    if row["status"] in NO_RECORD:
        return NOTHING
    return f"{row['passed'] or 'default'} #{row['recipe_sha256'][:DIGITS]}"


def checkpoint(row: Mapping[str, Any]) -> str:
    """Name the weights that were measured, and how they were selected."""
    return f"{row['selection']}, {row['weights']}" if row.get("selection") else NOTHING


def cost(row: dict[str, Any], minutes: bool = False) -> dict[str, str]:
    """Return the cells of a summary row that show weights and cost; a core's time in hours, or in minutes."""
    if row["status"] in NO_RECORD:
        return dict.fromkeys(_COST, NOTHING)
    chosen = checkpoint(row)
    counts = (_span(row, name) for name in COUNTS)
    seconds = (f"{row['train_seconds']:.0f}", _compute(row, minutes), f"{row['evaluate_seconds']:.0f}")
    memory = human_size(row["peak_memory_bytes"])
    return dict(zip(_COST, (chosen, _whole(row["nfe"]), *counts, *seconds, memory), strict=True))


def _whole(count: float) -> str:
    return NOTHING if math.isnan(count) else f"{count:.0f}"


def _compute(row: dict[str, Any], minutes: bool) -> str:
    """Return the training time in GPU-hours, or for training on a CPU in core-hours or core-minutes."""
    core = (60 * row["core_hours"], "core-minutes", 1) if minutes else (row["core_hours"], "core-hours", 2)
    for time, unit, digits in ((row["gpu_hours"], "GPU-hours", 2), core):
        if time:
            return f"{amount(time, digits)} {unit}"
    return NOTHING


def amount(time: float, digits: int) -> str:
    """Format a time with decimals, and none from 100 on; of less than they show it says so, and not 0."""
    if time >= 100:
        return f"{time:,.0f}"
    least = 10.0**-digits
    return f"{time:.{digits}f}" if time >= least / 2 else f"<{least:.{digits}f}"


def _span(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None or math.isnan(low):
        return NOTHING
    return f"{low:,.0f}" if low == high else f"{low:,.0f}–{high:,.0f}"
