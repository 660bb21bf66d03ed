"""What the columns of a table show, so that a renderer with little room can choose among them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bench.report.cells import header
from bench.runs.suites.paper_tables import PaperColumn

Kind = Literal["method", "recipe", "paper", "metric", "cost"]
"""paper: the paper's value of a metric. cost: everything that is no quality, ours or the paper's."""

_PAPER_COSTS = ("nfe", "latency", "resolution")
COMPARED = ("iterations", "generator updates", "training images", "passes", "compute", "peak memory")
"""The costs that a table of methods at equal budget compares."""


@dataclass(frozen=True)
class Column:
    """One column of `bench.report.table.Section.cells`."""

    name: str
    """The heading, which names the column in the data frame."""
    kind: Kind
    title: str = ""
    """The heading without what it says in brackets, such as the feature network; empty: the heading."""
    compared: bool = False
    """Whether the table compares this cost, too, so that every format shows it."""

    @property
    def short(self) -> str:
        """The heading where there is little room."""
        return self.title or self.name


def metric_column(title: str, direction: str) -> Column:
    """Return the column of a metric with this title."""
    short = re.sub(r" \([^()]*\)", "", title).strip() or title
    return Column(header(title, direction), "metric", header(short, direction))


def paper_column(column: PaperColumn) -> Column:
    """Return the column of the paper's values."""
    return Column(f"paper {column.title}", "cost" if column.name in _PAPER_COSTS else "paper")
