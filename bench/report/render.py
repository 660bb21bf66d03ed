"""Compiled tables as text: markdown for people, CSV for machines."""

from __future__ import annotations

from bench.report.table import ReportTable, Section


def to_markdown(table: ReportTable) -> str:
    """Return the table as markdown: a heading per protocol, the best values bold, notes, and what is left."""
    parts = [f"## {table.title}", *([table.note.strip()] if table.note else [])]
    for section in table.sections:
        parts += [f"### {section.heading}", _grid(section)]
        parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    if table.left:
        parts += ["### Not there yet", "\n".join(f"- {line}" for line in table.left)]
    return "\n\n".join(parts) + "\n"


def to_csv(table: ReportTable) -> str:
    """Return the table as tidy CSV: floats read back as the same float64, an empty field for no value."""
    return str(table.data.to_csv(index=False, lineterminator="\n"))


def _grid(section: Section) -> str:
    frame = section.cells.map(lambda text: str(text).replace("|", "\\|"))
    for row, column in section.best:
        frame.loc[row, column] = f"**{frame.loc[row, column]}**"
    return str(frame.to_markdown(index=False, disable_numparse=True))
