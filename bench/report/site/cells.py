"""The cells of a page's tables: text for people, and the number by which a browser sorts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.core.files import human_size
from bench.report.cells import NOTHING, amount, checkpoint, number
from bench.report.measured import Measured
from bench.report.summary import COUNTS


@dataclass(frozen=True)
class Cell:
    """A value with its interval."""

    text: str = NOTHING
    spread: str = ""
    """`± half width` over training seeds, or `[low, high]` over generation seeds or pairs; `n=` if it is less."""
    sort: str = ""
    """The number by which a browser sorts, if the text itself is not that number."""
    best: bool = False
    words: bool = False
    """Whether the text says why there is no value."""


EMPTY = Cell()
COSTS = (
    *("NFE", "Iterations", "Generator updates", "Training images", "Passes", "Core-hours", "GPU-hours"),
    *("Peak memory", "Checkpoint"),
)
"""Headings of the columns that show cost, and the weights that were measured."""


def measured(row: Mapping[str, Any] | None, best: bool = False, seeds: int = 0, more: int = 0) -> Cell:
    """Return the cell of a row of the summary (bench.report.summary); None: the metric was not measured.

    `seeds` is the number of training seeds of the table's row; a value of fewer says of how many it is. `more` is
    the number of decimals by which the column needs more than others.
    """
    one = replace(Measured.of(dict(row)), more=more) if row is not None else Measured()
    if one.value is None:
        return Cell(one.state, words=True) if one.state else EMPTY
    spread = one.half if one.ranks else one.ends
    if not spread and one.standard_error is not None:
        spread = f"SE {one.format(one.standard_error)}"
    if one.n is not None and one.n < seeds:
        spread = f"{spread}, n={one.n}" if spread else f"n={one.n}"
    return Cell(one.format(one.value), spread, f"{one.value:.6g}", best)


def quoted(value: float | None) -> Cell:
    """Return the cell of a value of the paper."""
    return EMPTY if value is None else Cell(number(value))


def costs(some: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of COSTS for a row of the summary."""
    counts = [(some[f"{name}_low"], some[f"{name}_high"]) for name in COUNTS]
    cells = [_count(low, high) for low, high in ((some["nfe"], some["nfe"]), *counts)]
    cells += [_hours(some["core_hours"]), _hours(some["gpu_hours"])]
    cells.append(Cell(human_size(some["peak_memory_bytes"]), sort=f"{some['peak_memory_bytes']:.0f}"))
    return [*cells, Cell(checkpoint(some))]


def _count(low: float, high: float) -> Cell:
    text = f"{low:,.0f}" if low == high else f"{low:,.0f}–{high:,.0f}"
    return Cell(text, sort="" if low == high else f"{low:.0f}") if high and not math.isnan(high) else EMPTY


def _hours(hours: float) -> Cell:
    return Cell(amount(hours, 2), sort=f"{hours:.6g}") if hours else EMPTY
