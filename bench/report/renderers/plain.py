"""Markdown for people and CSV for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.renderer import Layout, Renderer

if TYPE_CHECKING:
    from bench.report.table import ReportTable


class MarkdownRenderer(Renderer):
    """Markdown tables with notes, for people."""

    name = "md"
    summary = "Markdown tables with notes and the missing results"

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:  # noqa: ARG002 (a line has no end)
        """Return the tables one after the other."""
        from bench.report.render import to_markdown

        return "\n".join(map(to_markdown, tables))


class CSVRenderer(Renderer):
    """Tidy CSV, for programs."""

    name = "csv"
    summary = "tidy CSV in full precision: one row for each line, protocol and metric"

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:  # noqa: ARG002 (a line has no end)
        """Return the tables one after the other, each with its header."""
        from bench.report.render import to_csv

        return "\n".join(map(to_csv, tables))
