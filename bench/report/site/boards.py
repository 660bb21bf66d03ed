"""The results of a task as boards: one for each protocol and set of networks, one row for each variant.

A variant is what is averaged: the records of one recipe over its training seeds (bench.report.summary).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.metrics.titles import UNSCALED_KID, shown_title
from bench.report.cells import header
from bench.report.measured import Measured
from bench.report.notes import notes, warnings
from bench.report.ranking import best_rows
from bench.report.site.entries import Entry
from bench.report.summary import RECIPE, VARIANT, summarise
from bench.runs.record import is_study
from bench.runs.records import collector_paused


@dataclass(frozen=True)
class Metric:
    """A column of a board."""

    name: str
    title: str
    """Heading with the arrow that says which values are better."""
    direction: str


@dataclass(frozen=True, eq=False)
class Variant:
    """A row of a board: the rows of one recipe over training seeds, by metric, and their records."""

    metrics: Mapping[str, dict[str, Any]]
    """Rows of the summary (bench.report.summary.summarise) by metric; a failed recipe has one, under ''."""
    entries: Sequence[Entry]
    """Its records, oldest first."""

    @property
    def some(self) -> dict[str, Any]:
        """A row of the summary, for all that does not depend on the metric."""
        return next(iter(self.metrics.values()))

    @property
    def seeds(self) -> int:
        """How many training seeds it has; 0 for a sampler."""
        return len({entry.record.train_seed for entry in self.entries} - {None})

    def measured(self, metric: str) -> Measured:
        """Return the mean value of a metric with its interval, on the scale of tables."""
        row = self.metrics.get(metric)
        return Measured.of(row) if row else Measured()

    def value(self, metric: str) -> float | None:
        """Return the mean value of a metric, on the scale of tables; None if there is none."""
        return self.measured(metric).value


@dataclass(frozen=True)
class Board:
    """What was measured on a task under one protocol with the same networks."""

    task: str
    protocol: Mapping[str, Any]
    sha256: str
    networks: str
    assets: Mapping[str, str]
    """SHA-256 of each network that the numbers depend on, by its role."""
    metrics: Sequence[Metric]
    variants: Sequence[Variant]
    best: Mapping[str, int]
    """By metric, the row of the best trained student, if its lead exceeds the intervals over training seeds."""
    notes: Sequence[str]
    """What its numbers share."""
    warnings: Sequence[str]
    """Why some of its numbers are not comparable, which a reader must not overlook."""

    @property
    def smoke(self) -> bool:
        """Whether the numbers are no results."""
        return bool(self.protocol.get("smoke", False))

    @property
    def study(self) -> bool:
        """Whether people were asked: the numbers are preferences, and no measurements."""
        return is_study(self.protocol)

    @property
    def id(self) -> str:
        """Name of the board on its page and in addresses."""
        return f"p{self.sha256[:8]}{self.networks[:6]}"


@collector_paused()
def boards_of(task: str, here: Sequence[Entry], frame: pd.DataFrame) -> list[Board]:
    """Return the boards of a task: smoke protocols last, and within a board baselines first, then by method.

    `here` are the task's entries, and `frame` is their tidy frame, whose `line` is the place in `here`.
    """
    members: dict[tuple[Any, ...], dict[int, None]] = {}
    for key, place in zip(frame[VARIANT].itertuples(index=False, name=None), frame["line"], strict=True):
        members.setdefault(key, {})[place] = None
        members.setdefault(key[: len(RECIPE)], {})[place] = None
    rows = summarise(frame).to_dict("records")
    protocols: dict[tuple[str, str], dict[tuple[Any, ...], dict[str, dict[str, Any]]]] = {}
    for row in sorted(rows, key=lambda row: (row["smoke"], row["protocol"], row["kind"], row["method"])):
        key = tuple(row[name] for name in (VARIANT if row["status"] == "ok" else RECIPE))
        of_protocol = protocols.setdefault((row["protocol_sha256"], row["networks_sha256"]), {})
        of_protocol.setdefault(key, {})[row["metric"]] = row
    return [
        _board(task, [Variant(metrics, [here[place] for place in members[key]]) for key, metrics in found.items()])
        for found in protocols.values()
    ]


def _board(task: str, variants: list[Variant]) -> Board:
    records = list({entry.name: entry.record for variant in variants for entry in variant.entries}.values())
    some = variants[0].some
    metrics: dict[str, Metric] = {}
    for variant in variants:
        for name, row in variant.metrics.items():
            if name and name != UNSCALED_KID and name not in metrics:
                title = header(shown_title(name, row["title"], records[0].protocol), row["direction"])
                metrics[name] = Metric(name, title, row["direction"])
    lines = [dict(variant.metrics) for variant in variants]
    best = {name: row for name in metrics for row in best_rows(lines, name)}
    warned = warnings(records)
    return Board(
        task,
        records[0].protocol,
        some["protocol_sha256"],
        some["networks_sha256"],
        {asset.role: asset.sha256 for asset in records[0].weights},
        list(metrics.values()),
        variants,
        best,
        [note for note in notes(records, metrics) if note not in warned],
        warned,
    )
