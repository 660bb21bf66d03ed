"""The tables of a report as one page that needs no other file and no script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.escape import printable
from bench.report.renderer import Layout, Renderer
from bench.report.renderers.parts import mark_line, parts, shows_n, telling_apart

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.report.columns import Column
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
        named = {"columns": _columns, "rows": _rows, "marks": _marks}
        template = page.from_string(TEMPLATE.read_text(encoding="utf-8"))
        return template.render(tables=list(zip(tables, missing, strict=True)), **named) + "\n"


def _columns(section: Section) -> list[Column]:
    """Return the columns: those that tell the rows apart, results, and costs, with a recipe that nobody needs."""
    order = telling_apart(section)
    order += [column for column in section.columns if column.kind in ("paper", "metric")]
    return order + [column for column in section.columns if column not in order]


def _rows(section: Section) -> Iterator[list[tuple[Column, str, str, str]]]:
    """Yield the cells of each row: the column, the mark, the text, and what follows a number in small print."""
    with_n = shows_n(section)
    for number in range(len(section.cells)):
        row = []
        for column in _columns(section):
            key = number, column.name
            value = section.values.get(key)
            if value is None:
                row.append((column, "", printable(section.cells[column.name].iloc[number]), ""))
                continue
            first, more = parts(value, with_n, ends=True)
            if value.standard_error is not None:
                more = f"{more} SE {value.format(value.standard_error)} over images".strip()
            mark = "best" if key in section.best else "second" if key in section.second else ""
            row.append((column, mark, printable(first), printable(more)))
        yield row


def _marks(section: Section) -> str:
    """Say what underlined values are; the notes say it of bold ones."""
    names = [column.name for column in section.columns]
    return mark_line(section, names, "Bold", "underlined") if section.second else ""


def _code(text: str) -> Markup:
    """Return text with what is in backticks as code."""
    from markupsafe import Markup, escape

    pieces = re.split("`([^`]*)`", printable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )
