"""The files beside the record of a sweep: its table for people and for programs, and its figure."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import write_text
from bench.report.sweeps.figure import sweep_figure
from bench.report.sweeps.table import to_csv, to_lines
from bench.runs.sweeps.plan import choice_lines
from bench.runs.sweeps.record import Sweep


def write_files(found: Sweep, record: Path) -> list[Path]:
    """Write the table as Markdown and CSV and the figure as PNG and SVG beside a record; return the files."""
    table, values = record.with_suffix(".md"), record.with_suffix(".csv")
    write_text(table, "\n".join([*to_lines(found), "", *(f"- {line}" for line in choice_lines(found))]) + "\n")
    write_text(values, to_csv(found))
    figures = [record.with_suffix(suffix) for suffix in (".png", ".svg")]
    for figure in figures:
        sweep_figure(found, figure)
    return [table, values, *figures]
