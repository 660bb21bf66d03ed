"""The paper's tables as data, and those of other papers, read from the TOML files of `results/paper`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.core.errors import unknown
from bench.runs.result_files import file_named, read_toml, unreadable
from bench.runs.suites.declared import made, typed


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table of the paper."""

    name: str
    """Key of this column in `PaperRow.values`."""
    title: str
    """The printed title."""
    direction: Literal["lower", "higher"]
    """The direction of better values."""


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper."""

    key: str
    """Stable slug, unique in its table."""
    label: str
    """The printed label."""
    values: dict[str, float]
    """Values by column name; a column is absent if the paper prints a dash. Latency is in seconds."""
    source: str
    """The paper's reference number with its authors, or the checkpoint published for the row."""
    family: str = ""
    """The heading above the row (Table 5)."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, as data."""

    name: str
    title: str
    source: str
    note: str
    """The known and the unknown parts of its protocol."""
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]

    def row(self, key: str) -> PaperRow:
        """Return the row with this key. Raises UserError with the nearest keys."""
        for row in self.rows:
            if row.key == key:
                return row
        raise unknown(f"row of {self.name}", key, [row.key for row in self.rows])


def load_paper_table(name: str) -> PaperTable:
    """Read a table of the paper. Raises UserError with the nearest tables, or with the problem of its file."""
    path = file_named("paper table", "paper", name)
    data = read_toml("paper table", path)
    try:
        found = PaperTable(
            name=name,
            title=data["title"],
            source=data["source"],
            note=data["note"],
            columns=tuple(made(PaperColumn, column, "a column") for column in data["columns"]),
            rows=tuple(made(PaperRow, row, "a row") for row in data["rows"]),
        )
        return typed(found)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable("paper table", path, error) from None
