"""A table on a page: its columns, and one row for each variant or for what was not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.cells import NOTHING
from bench.report.measured import decimals_apart
from bench.report.site.boards import Board, Variant
from bench.report.site.cells import COSTS, EMPTY, Cell, costs, measured
from bench.report.site.entries import Entry
from bench.runs.recipes import DIGITS

LONG = 20
"""Letters of a heading that fit a column which is as narrow as its values."""


@dataclass(frozen=True)
class Column:
    """A column of values or costs; those of the recipe and of the training seeds are between them."""

    title: str
    better: str = ""
    """lower or higher, for a metric."""
    paper: bool = False
    """Whether its values are the paper's."""
    cost: bool = False
    """Whether it tells what a result cost."""

    @property
    def long(self) -> bool:
        """Whether its heading needs a wider column, so that it has two or three lines."""
        return len(self.title) > LONG


@dataclass(frozen=True)
class Row:
    """A row: a variant, something that was not run, or a row of the paper alone."""

    label: str
    kind: str
    """baseline, method or quoted."""
    cells: Sequence[Cell]
    variant: Variant | None = None
    command: str = ""
    """The command that runs what was not run."""
    overrides: str = ""
    """What distinguishes its recipe, if it was not run."""

    @property
    def runs(self) -> list[Entry]:
        """Its runs by training seed; of a seed that was recorded twice, the newest."""
        entries = self.variant.entries if self.variant else ()
        newest = {entry.record.train_seed: entry for entry in entries}
        return [newest[seed] for seed in sorted(newest, key=lambda seed: -1 if seed is None else seed)]

    @property
    def recipe(self) -> str:
        """The user's overrides, or `default`."""
        if self.kind == "baseline" or not self.variant:
            return self.overrides or NOTHING
        return str(self.variant.some["passed"] or "default")

    @property
    def digest(self) -> str:
        """The first digits of the digest of all values of the recipe."""
        if self.kind == "baseline" or not self.variant:
            return ""
        return f"#{self.variant.some['recipe_sha256'][:DIGITS]}"

    @property
    def failed(self) -> int:
        """How many of its runs failed."""
        return int(self.variant.some["n_failed"]) if self.variant else 0


@dataclass(frozen=True)
class Table:
    """A table, which the browser sorts and filters."""

    id: str
    heading: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    smoke: bool = False
    """Whether its numbers are no results."""
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What is said above it."""
    sha256: str = ""
    """SHA-256 of the protocol's content."""
    keys: Sequence[tuple[str, str]] = ()
    """Every key of the protocol and of its networks, and its value."""

    @property
    def measured(self) -> list[Column]:
        """The columns of values. They follow the method's, since a phone shows little more than two columns."""
        return [column for column in self.columns if not column.cost]

    @property
    def costs(self) -> list[Column]:
        """The columns of costs, which are the last."""
        return [column for column in self.columns if column.cost]

    @property
    def not_run(self) -> list[Row]:
        """The rows that a command can run."""
        return [row for row in self.rows if row.command]

    def without_empty_columns(self) -> Table:
        """Return the table without the columns that have no value in any row."""
        kept = [place for place in range(len(self.columns)) if any(row.cells[place] != EMPTY for row in self.rows)]
        rows = [replace(row, cells=[row.cells[place] for place in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows)


COST_COLUMNS = [Column(title, cost=True) for title in COSTS]


def values(board: Board, place: int, names: Sequence[str]) -> dict[str, Cell]:
    """Return the cells of a board's variant by metric; the best are marked."""
    variant = board.variants[place]
    ranked = {name: [board.best[name]] if name in board.best else [] for name in names}
    return {
        name: value(variant, name, place in best, more_decimals(board.variants, name, best))
        for name, best in ranked.items()
    }


def value(variant: Variant, name: str, best: bool, more: int) -> Cell:
    """Return the cell of a variant's metric, with `more` decimals than others, or of its failure."""
    failed = variant.some if variant.some["status"] == "failed" else None
    return measured(variant.metrics.get(name, failed), best, variant.seeds, more)


def more_decimals(variants: Sequence[Variant], name: str, best: Sequence[int]) -> int:
    """Return how many more decimals a metric's column needs to tell the best, by its place, from the others."""
    return decimals_apart([variant.value(name) for variant in variants], best) if best else 0


def variant_row(variant: Variant, label: str, cells: Sequence[Cell]) -> Row:
    """Return a variant's row; what it cost follows its values."""
    return Row(label, str(variant.some["kind"]), [*cells, *costs(variant.some)], variant)


def not_run_row(label: str, kind: str, cells: Sequence[Cell], command: str, overrides: str = "") -> Row:
    """Return the row of something without a record; the command may be code in Markdown."""
    return Row(label, kind, [*cells, *[EMPTY] * len(COSTS)], None, command.replace("`", ""), overrides)
