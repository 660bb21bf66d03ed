"""The suites (named sets of runs) and the paper's tables, read from the TOML files of `results`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import results
from tasks.errors import unknown

FOLDER = Path(results.__file__).parent


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table of the paper."""

    name: str
    """Key of this column in `PaperRow.values`."""
    title: str
    """As printed."""
    direction: Literal["lower", "higher"]
    """Which values are better."""


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper."""

    key: str
    """Stable slug, unique in its table."""
    label: str
    """As printed."""
    values: dict[str, float]
    """By column name; a column is absent where the paper prints a dash. Latency is in seconds."""
    source: str
    """The paper's reference number and who it is, or the checkpoint published for the row."""
    family: str = ""
    """The heading above the row (Table 5)."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, as data."""

    name: str
    title: str
    source: str
    note: str
    """What is known of its protocol, and what is not."""
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]

    def row(self, key: str) -> PaperRow:
        """Return the row of this key; raise UserError naming the nearest keys."""
        for row in self.rows:
            if row.key == key:
                return row
        raise unknown(f"row of {self.name}", key, [row.key for row in self.rows])


@dataclass(frozen=True)
class SuiteRow:
    """A method of a suite, and the row of the paper's table that it answers."""

    method: str
    label: str
    paper_row: str | None = None


@dataclass(frozen=True)
class Suite:
    """A named set of runs that makes one table or figure of the paper."""

    name: str
    title: str
    paper: str | None
    """Name of the paper's table, or None where the paper prints no values."""
    seeds: tuple[int, ...]
    """Training seeds of each method."""
    columns: tuple[str, ...]
    """Names of the metrics to show, in order."""
    baselines: tuple[str, ...]
    """Named samplers of the teacher, shown above the methods."""
    scales: dict[str, str]
    """Task of each scale."""
    rows: tuple[SuiteRow, ...]

    def task(self, scale: str) -> str:
        """Return the task of this scale; raise UserError naming the nearest scales."""
        if scale not in self.scales:
            raise unknown(f"scale of suite {self.name}", scale, self.scales)
        return self.scales[scale]


def suite_names() -> list[str]:
    """Return the names of all suites, sorted."""
    return _names("suites")


def paper_table_names() -> list[str]:
    """Return the names of the paper's tables, sorted."""
    return _names("paper")


def load_suite(name: str) -> Suite:
    """Read a suite; raise UserError naming the nearest suites."""
    data = _read("suite", "suites", name)
    return Suite(
        name=name,
        title=data["title"],
        paper=data.get("paper"),
        seeds=tuple(data["seeds"]),
        columns=tuple(data["columns"]),
        baselines=tuple(data["baselines"]),
        scales={scale: entry["task"] for scale, entry in data["scales"].items()},
        rows=tuple(SuiteRow(**row) for row in data["rows"]),
    )


def load_paper_table(name: str) -> PaperTable:
    """Read a table of the paper; raise UserError naming the nearest tables."""
    data = _read("paper table", "paper", name)
    return PaperTable(
        name=name,
        title=data["title"],
        source=data["source"],
        note=data["note"],
        columns=tuple(PaperColumn(**column) for column in data["columns"]),
        rows=tuple(PaperRow(**row) for row in data["rows"]),
    )


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / folder).glob("*.toml"))


def _read(kind: str, folder: str, name: str) -> dict[str, Any]:
    if name not in _names(folder):
        raise unknown(kind, name, _names(folder))
    return tomllib.loads((FOLDER / folder / f"{name}.toml").read_text(encoding="utf-8"))
