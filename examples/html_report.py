"""A renderer as a plug-in: the tables of a report as one HTML page.

bench report --suite table3 --plugin examples/html_report.py --format plain-html > table3.html
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.report.renderer import Layout, Renderer
from bench.report.table import ReportTable, Section

STYLE = "body{font-family:sans-serif;margin:2em}td,th{padding:.3em .6em;text-align:left}"


class HTMLRenderer(Renderer):
    """One page without any other file."""

    name = "plain-html"
    summary = "one HTML page that needs no other file"

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:  # noqa: ARG002 (a page has no width)
        """Return a page with a heading for each table."""
        parts = [part for table in tables for part in self._table(table)]
        return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>\n" + "\n".join(parts) + "\n"

    def _table(self, table: ReportTable) -> list[str]:
        parts = [f"<h1>{escape(table.title)}</h1>", f"<p>{escape(table.note)}</p>" if table.note else ""]
        for section in table.sections:
            notes = "".join(f"<li>{escape(note)}</li>" for note in section.notes)
            parts += [f"<h2>{escape(section.heading)}</h2>", self._grid(section), f"<ul>{notes}</ul>"]
        return [*parts, *(f"<p>missing: {escape(line)}</p>" for line in table.left)]

    def _grid(self, section: Section) -> str:
        columns = list(map(str, section.cells.columns))
        rows = ["".join(f"<th>{escape(column)}</th>" for column in columns)]
        for number, row in enumerate(section.cells.itertuples(index=False)):
            cells = []
            for column, text in zip(columns, map(escape, map(str, row)), strict=True):
                cells.append(f"<td><b>{text}</b></td>" if (number, column) in section.best else f"<td>{text}</td>")
            rows.append("".join(cells))
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
