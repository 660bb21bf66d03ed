"""Compiled tables as text: markdown for people, CSV for machines."""

from __future__ import annotations

import re
from typing import Any

from bench.core.escape import csv_text, markdown, printable
from bench.report.table import ReportTable, Section


def to_markdown(table: ReportTable) -> str:
    """Return the table as markdown: a heading per protocol, bold best values, notes, and missing results.

    All text from records is escaped; the lines on missing results are markdown already (bench.report.todo).
    """
    parts = [f"## {markdown(table.title)}", *([table.note.strip()] if table.note else [])]
    for section in table.sections:
        parts += [f"### {markdown(section.heading)}", _grid(section)]
        parts += ["\n".join(f"- {_note(note)}" for note in section.notes)] if section.notes else []
    if table.left:
        parts += ["### Missing results", "\n".join(f"- {line}" for line in table.left)]
    return "\n\n".join(parts) + "\n"


def to_csv(table: ReportTable) -> str:
    """Return the table as tidy CSV: floats read back as the same float64, and a missing value is an empty field.

    Text is escaped so that a spreadsheet does not read it as a formula.
    """
    data = table.data.map(lambda value: csv_text(value) if isinstance(value, str) else value)
    return str(data.astype(table.data.dtypes).to_csv(index=False, lineterminator="\n"))


def to_data(table: ReportTable) -> dict[str, Any]:
    """Return the table as data for JSON: its rows are those of the CSV, with None for no value."""
    rows = table.data.astype(object)
    return {
        "title": table.title,
        "note": table.note.strip(),
        "sections": [{"heading": one.heading, "notes": list(one.notes)} for one in table.sections],
        "rows": rows.where(rows.notna(), None).to_dict("records"),
        "missing": list(table.left),
    }


def _note(text: str) -> str:
    """Return a note as Markdown, with what is in backticks as code."""
    pieces = re.split("`([^`]*)`", printable(text))
    return "".join(f"`{piece}`" if number % 2 else markdown(piece) for number, piece in enumerate(pieces))


def _grid(section: Section) -> str:
    frame = section.cells.map(markdown).rename(columns=markdown)
    for row, column in section.best:
        frame.loc[row, markdown(column)] = f"**{frame.loc[row, markdown(column)]}**"
    return str(frame.to_markdown(index=False, disable_numparse=True))
