"""A renderer turns compiled tables into the text of one format. Imports no pandas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bench.report.table import ReportTable


@dataclass(frozen=True)
class Layout:
    """The room that a report has. Formats for files and programs have no use for it."""

    width: int = 80
    """Characters in a line of the terminal."""
    wide: bool = False
    """Whether to show every column and every note."""
    styled: bool = False
    """Whether the terminal shows bold and underlined text."""


class Renderer(ABC):
    """One format of `bench report --format NAME`. The entry point group `bench.renderers` names the classes."""

    name: ClassVar[str]
    """The name on the command line."""
    summary: ClassVar[str]
    """One line that `bench list renderers` shows."""
    for_terminal: ClassVar[bool] = False
    """Whether the text keeps to a layout. It may then contain terminal styles, which are printed as they are."""

    @abstractmethod
    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:
        """Return all tables of a report as one text.

        A table has a title, a note, what is missing, and a section for each protocol: `section.cells` is a data
        frame of formatted text, whose columns `section.columns` describes; `section.values` has the numbers behind
        the cells of metrics; `section.best` and `section.second` name the cells to mark. `table.data` has all
        values in full precision, one row for each line and metric. Text comes from records that anybody may have
        written: escape it.
        """
