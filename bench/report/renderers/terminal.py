"""Tables that fit a terminal: the most important columns first, and a line that names those left out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.core.escape import printable, rich_text
from bench.report.renderer import Layout, Renderer
from bench.report.renderers.parts import interval_line, mark_line, parts, protocol_line, shows_n, telling_apart

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.report.columns import Column
    from bench.report.table import ReportTable, Section

GAP = 2
"""Characters between two columns."""
BEST, SECOND = "*", "+"
"""Marks behind the best and the second value, where text cannot be bold or underlined."""
LEAST = 8
"""Characters to which a column of names may be narrowed: one more than a recipe's hash has."""
NARROWEST = 40
"""A terminal with fewer characters is written to as if it had as many."""


class TerminalRenderer(Renderer):
    """Tables as wide as the terminal."""

    name = "terminal"
    summary = "tables that fit the terminal; --wide shows every column and note"
    for_terminal = True

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:
        """Return the tables one after the other. All text from records is made printable."""
        from rich.console import Console

        layout = Layout(max(layout.width, NARROWEST), layout.wide, layout.styled)
        console = Console(
            file=io.StringIO(),
            width=layout.width,
            force_terminal=layout.styled,
            color_system="standard" if layout.styled else None,
            highlight=False,
            legacy_windows=False,
        )
        for number, table in enumerate(tables):
            if number:
                console.print()
            _write(table, layout, console)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in lines) + "\n"


def _write(table: ReportTable, layout: Layout, console: Console) -> None:
    console.print(rich_text(table.title), style="bold")
    if table.note:
        console.print(rich_text(table.note.strip()))
    for section in table.sections:
        console.print()
        console.print(rich_text(section.heading))
        grid = _Grid(section, layout)
        for block in grid.blocks():
            console.print()
            console.print(grid.table(block))
        console.print()
        for line in grid.below():
            console.print(rich_text(line))
    if table.missing:
        from bench.report.todo import left_text

        console.print()
        console.print("Missing results:")
        for left in table.missing:  # each on one line, so that its command can be copied
            console.print(rich_text(f"  {left_text(left, printable)}"), soft_wrap=True)


class _Grid:
    """A section's columns with the text of their cells, and the choice among them."""

    def __init__(self, section: Section, layout: Layout) -> None:
        self.section, self.layout = section, layout
        self.order = list(section.columns)
        self.texts = {column.name: self._texts(column) for column in self.order}
        titles = [column.short for column in self.order]
        self.headings = {
            column.name: printable(column.short if titles.count(column.short) == 1 else column.name)
            for column in self.order
        }
        self.widths = {column.name: self._width(column) for column in self.order}
        self.fixed = telling_apart(section)
        self.shown = self.order
        if self._total(self.order) > layout.width:
            for column in self.fixed:
                self.widths[column.name] = self._narrow(column)
            self._make_room()
            self.shown = [*self.fixed, *self._important()] if layout.wide else self._fitting()

    def _texts(self, column: Column) -> list[str]:
        """Return the cells of a column; the numbers of a metric stand beneath each other."""
        if column.kind != "metric":
            return [printable(text) for text in self.section.cells[column.name]]
        with_n = shows_n(self.section)
        found = []
        for row in range(len(self.section.cells)):
            value = self.section.values[row, column.name]
            number, more = parts(value, with_n)
            if value.value is None:  # the list of missing results has the whole reason
                number = number.split(":")[0].split(" at ")[0]
            elif self.layout.wide and value.standard_error is not None:
                more += f" SE {value.format(value.standard_error)}"
            found.append((printable(number), more.strip()))
        whole = max((len(number) for number, more in found if more), default=0)
        texts = [f"{number:>{whole}} {more}" if more else f"{number:>{whole}}" for number, more in found]
        if self.layout.styled:
            return texts
        return [f"{text}{self._mark(row, column)}" for row, text in enumerate(texts)]

    def _mark(self, row: int, column: Column) -> str:
        if (row, column.name) in self.section.best:
            return f" {BEST}"
        return f" {SECOND}" if (row, column.name) in self.section.second else ""

    def _width(self, column: Column) -> int:
        from rich.cells import cell_len

        heading = self.headings[column.name]
        words = [heading] if len(heading) < 9 else heading.split()  # a longer one is broken into lines
        return max(map(cell_len, [*self.texts[column.name], *words]), default=1)

    def _narrow(self, column: Column) -> int:
        """Return the width to which a column of names is broken into lines, between words where that can be."""
        from rich.cells import cell_len

        words = [cell_len(word) for text in self.texts[column.name] for word in text.split()]
        room = max(self.layout.width * 3 // 10, min(max(words, default=1), self.layout.width * 9 // 20))
        return min(self.widths[column.name], room)

    def _make_room(self) -> None:
        """Narrow the columns of names until the first metric, or with --wide any column, has room beside them.

        Where even narrow names leave too little, that column is broken into lines too.
        """
        needed = self._important() if self.layout.wide else self._important()[:1]
        widest = max((self.widths[column.name] + GAP for column in needed), default=0)
        while self._total(self.fixed) + widest > self.layout.width:
            name = max((column.name for column in self.fixed), key=lambda one: self.widths[one])
            if self.widths[name] <= LEAST:
                break
            self.widths[name] -= 1
        room = self.layout.width - self._total(self.fixed) - GAP
        for column in needed:
            self.widths[column.name] = min(self.widths[column.name], room)

    def _total(self, columns: Sequence[Column]) -> int:
        return sum(self.widths[column.name] + GAP for column in columns) - GAP

    def _important(self) -> list[Column]:
        """Return the other columns, the most important ones first, and empty ones last."""
        metrics = [column for column in self.order if column.kind == "metric"]
        papers = [column for column in self.order if column.kind == "paper"]
        costs = [column for column in self.order if column.compared]
        costs += [column for name in ("NFE", "train s", "compute") for column in self.order if column.name == name]
        first = list(dict.fromkeys([*metrics[:1], *papers, *metrics[1:], *costs]))
        rest = [column for column in self.order if column not in first]
        ranked = [column for column in (*first, *rest) if column not in self.fixed]
        return sorted(ranked, key=lambda column: set(self.texts[column.name]) <= {"–"})

    def _fitting(self) -> list[Column]:
        chosen = list(self.fixed)
        for column in self._important():
            if self._total([*chosen, column]) <= self.layout.width:
                chosen.append(column)
        return [column for column in self.order if column in chosen]

    def blocks(self) -> Iterator[list[Column]]:
        """Yield the shown columns in blocks as wide as the terminal, each with those that tell the rows apart."""
        block: list[Column] = []
        for column in self.shown:
            if column in self.fixed:
                continue
            if block and self._total([*self.fixed, *block, column]) > self.layout.width:
                yield [*self.fixed, *block]
                block = []
            block.append(column)
        yield [*self.fixed, *block]

    def table(self, columns: Sequence[Column]) -> Table:
        """Return the grid of some columns. Only names that tell the rows apart are broken into lines."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
        )
        for column in columns:
            fixed = column in self.fixed
            table.add_column(
                Text(self.headings[column.name]),
                justify="left" if fixed or column.kind in ("metric", "recipe") else "right",
                width=self.widths[column.name],
                no_wrap=False,
                overflow="fold",
            )
        for row in range(len(self.section.cells)):
            table.add_row(*(self._marked(row, column) for column in columns))
        return table

    def _marked(self, row: int, column: Column) -> Text:
        from rich.text import Text

        mark = self._mark(row, column).strip()
        style = {BEST: "bold", SECOND: "underline"}.get(mark, "") if self.layout.styled else ""
        text = Text(self.texts[column.name][row])
        text.stylize(style, len(text) - len(text.plain.lstrip()))  # the number, not the space around it
        return text

    def below(self) -> Iterator[str]:
        """Yield the lines below the grid: what is not shown, what the signs mean, and the notes."""
        left_out = [self.headings[column.name] for column in self.order if column not in self.shown]
        if left_out:
            yield _not_shown(left_out, self.layout.width)
        yield from filter(None, (protocol_line(self.section), interval_line(self.section)))
        best, second = ("Bold", "underlined") if self.layout.styled else (BEST, SECOND)
        yield from filter(None, (mark_line(self.section, [column.name for column in self.shown], best, second),))
        full = [printable(column.name) for column in self.shown if self.headings[column.name] != column.name]
        if full:
            yield f"Headings in full: {', '.join(full)}."
        yield from (f"- {note}" for note in (self.section.notes if self.layout.wide else self.section.warnings))
        more = len(self.section.notes) - len(self.section.warnings)
        if more and not self.layout.wide:
            yield f"{more} more notes: --wide."


def _not_shown(headings: Sequence[str], width: int) -> str:
    """Say on one line how many columns are left out, and name as many as fit."""
    for named in range(len(headings), -1, -1):
        rest = len(headings) - named
        names = [*headings[:named], *([f"{rest} more" if named else f"{rest} columns"] if rest else [])]
        text = f"Not shown: {', '.join(names)}; see --wide or --format csv."
        if len(text) <= width:
            break
    return text
