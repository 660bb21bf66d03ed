"""The tables of a report as one page that needs no other file and no script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.escape import printable
from bench.report.renderer import Layout, Renderer
from bench.report.renderers.parts import mark_line, parts, shows_n

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.report.table import ReportTable, Section

TEMPLATE = Path(__file__).with_name("report.html")


class HTMLRenderer(Renderer):
    """One page with style inside, light and dark, that prints well."""

    name = "html"
    summary = "one self-contained page with notes and the missing results"

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:  # noqa: ARG002 (a page scrolls)
        """Return the page. jinja2 escapes all text, and text from records has no direction marks left."""
        from jinja2 import Environment, StrictUndefined

        from bench.report.todo import left_text

        page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        page.filters |= {"shown": printable, "code": _code}
        missing = [[left_text(left, printable) for left in table.missing] for table in tables]
        template = page.from_string(TEMPLATE.read_text(encoding="utf-8"))
        return template.render(tables=list(zip(tables, missing, strict=True)), rows=_rows, marks=_marks) + "\n"


def _rows(section: Section) -> Iterator[list[tuple[str, str, str]]]:
    """Yield the cells of each row: the class of a cell, its text, and what follows a number in small print."""
    with_n = shows_n(section)
    for number in range(len(section.cells)):
        row = []
        for column in section.columns:
            value = section.values.get((number, column.name))
            if value is None:
                row.append((column.kind, printable(section.cells[column.name].iloc[number]), ""))
                continue
            first, more = parts(value, with_n)
            if value.standard_error is not None:
                more = f"{more} SE {value.format(value.standard_error)} over images".strip()
            key = number, column.name
            mark = "best" if key in section.best else "second" if key in section.second else ""
            row.append((f"metric {mark}".strip(), printable(first), printable(more)))
        yield row


def _marks(section: Section) -> str:
    return mark_line(section, [column.name for column in section.columns], "Bold", "underlined")


def _code(text: str) -> Markup:
    """Return text with what is in backticks as code."""
    from markupsafe import Markup, escape

    parts = re.split("`([^`]*)`", printable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )
