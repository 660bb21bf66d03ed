"""The cells of a page's tables: text for people, and the number by which a browser sorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.core.files import human_size
from bench.metrics.titles import TIMES
from bench.report.cells import NOTHING, number
from bench.report.summary import TRAINING_SEEDS


@dataclass(frozen=True)
class Cell:
    """A value with its interval."""

    text: str = NOTHING
    spread: str = ""
    """`± half width` over training seeds, or `[low, high]` over generation seeds."""
    sort: str = ""
    """The number by which a browser sorts, if the text itself is not that number."""
    best: bool = False
    words: bool = False
    """Whether the text says why there is no value."""


EMPTY = Cell()
COSTS = (
    *("NFE", "Iterations", "Generator updates", "Training images", "Core-hours", "GPU-hours", "Peak memory"),
    "Checkpoint",
)
"""Headings of the columns that show cost, and the weights that were measured."""


def measured(row: Mapping[str, Any] | None, best: bool = False) -> Cell:
    """Return the cell of a row of the summary (bench.report.summary); None: the metric was not measured."""
    if row is not None and row["status"] == "failed":
        return Cell(f"failed: {row['error']}", words=True)
    if row is None or pd.isna(row["value"]):
        return EMPTY
    times = TIMES.get(row["metric"], 1)
    value, low, high = (times * row[name] for name in ("value", "low", "high"))
    decimals = 2 if abs(value) >= 1 else 3
    spread = ""
    if row["interval"] == TRAINING_SEEDS:
        spread = f"± {high - value:.{decimals}f}"
    elif row["interval"]:
        spread = f"[{low:.{decimals}f}, {high:.{decimals}f}]"
    elif pd.notna(row["standard_error"]):
        spread = f"SE {times * row['standard_error']:.{decimals}f}"
    return Cell(f"{value:.{decimals}f}", spread, f"{value:.6g}", best)


def quoted(value: float | None) -> Cell:
    """Return the cell of a value of the paper."""
    return EMPTY if value is None else Cell(number(value))


def costs(some: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of COSTS for a row of the summary."""
    counts = [(some[f"{name}_low"], some[f"{name}_high"]) for name in _COUNTS]
    cells = [_count(low, high) for low, high in ((some["nfe"], some["nfe"]), *counts)]
    cells += [_hours(some["core_hours"]), _hours(some["gpu_hours"])]
    cells.append(Cell(human_size(some["peak_memory_bytes"]), sort=f"{some['peak_memory_bytes']:.0f}"))
    chosen = f"{some['selection']}, {some['weights']}" if some["selection"] else NOTHING
    return [*cells, Cell(chosen)]


_COUNTS = ("iterations", "generator_updates", "training_images")


def _count(low: float, high: float) -> Cell:
    text = f"{low:,.0f}" if low == high else f"{low:,.0f}–{high:,.0f}"
    return Cell(text, sort="" if low == high else f"{low:.0f}") if high else EMPTY


def _hours(hours: float) -> Cell:
    return Cell(f"{hours:,.{0 if hours >= 100 else 2}f}") if hours else EMPTY
