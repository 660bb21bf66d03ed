"""A renderer turns compiled tables into the text of one format; two are built in. Imports no pandas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bench.report.table import ReportTable


class Renderer(ABC):
    """One format of `bench report --format NAME`. The entry point group `bench.renderers` names the classes."""

    name: ClassVar[str]
    """The name on the command line."""
    summary: ClassVar[str]
    """One line that `bench list renderers` shows."""

    @abstractmethod
    def render(self, tables: Sequence[ReportTable]) -> str:
        """Return all tables of a report as one text.

        A table has a title, notes, and a section for each protocol: `section.cells` is a data frame of formatted
        text, whose cells in `section.best` are bold. `table.data` has the same values in full precision, one row
        for each line and metric. Text comes from records that anybody may have written: escape it.
        """


class MarkdownRenderer(Renderer):
    """Markdown tables with notes, for people."""

    name = "md"
    summary = "Markdown tables with notes and the missing results"

    def render(self, tables: Sequence[ReportTable]) -> str:
        """Return the tables one after the other."""
        from bench.report.render import to_markdown

        return "\n".join(map(to_markdown, tables))


class CSVRenderer(Renderer):
    """Tidy CSV, for programs."""

    name = "csv"
    summary = "tidy CSV in full precision: one row for each line, protocol and metric"

    def render(self, tables: Sequence[ReportTable]) -> str:
        """Return the tables one after the other, each with its header."""
        from bench.report.render import to_csv

        return "\n".join(map(to_csv, tables))
