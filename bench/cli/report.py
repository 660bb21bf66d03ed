"""`bench report`: tables compiled from the records, the paper's values beside ours."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import RunsOption
from tasks.errors import UserError, unknown


class Format(StrEnum):
    """How a table is printed."""

    md = "md"
    csv = "csv"


def report(
    task: Annotated[str | None, typer.Option("--task", help="All that was recorded on a task.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="A suite's table, with the paper's values.")] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", help="The suite's scale: micro or paper.", show_default="micro")
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="Markdown, or tidy CSV in full precision.")
    ] = Format.md,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw brightness and FD over training, a PNG.")
    ] = None,
    committed: Annotated[bool, typer.Option(help="Read the records that come with the package, too.")] = True,
    runs: RunsOption = Path("runs"),
) -> None:
    """Compile tables from the records of this machine and those that come with the package."""
    from bench.cli.standing import standing
    from bench.records import collector_paused, load_records
    from bench.registry import load_catalogue
    from bench.report.figures import progress_figure, suite_logs
    from bench.report.render import to_csv, to_markdown
    from bench.report.table import suite_table, task_table
    from bench.report.todo import work_of
    from bench.run_folder import METRICS
    from bench.suites import FOLDER, load_paper_table, load_suite

    if scale is not None and suite is None:
        raise UserError("--scale goes with --suite; a task has one scale")
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure takes a .png, .pdf or .svg file, not {figure}")
    with collector_paused():  # once, for all of it: where it ends, the collector searches what was made
        folders = [
            folder for folder in (runs, FOLDER / "records" if committed else None) if folder and folder.is_dir()
        ]
        found = load_records(folders)
        for problem in found.problems:
            print(f"warning: {problem}", file=sys.stderr)
        records = list({(record.run_id, record.task): record for record in reversed(found.records)}.values())[::-1]
        part = None
        if suite is not None:
            chosen = load_suite(suite)
            part = chosen.scale(scale or "micro")
            if task is not None:
                known = {record.task for record in records} | set(load_catalogue([]).tasks.entries)
                if task not in known and not (runs / task).is_dir():
                    raise unknown(f"task with nothing in {runs}:", task, known)
                part = replace(part, task=task, protocol=None, trained_on=None)
            paper = load_paper_table(chosen.paper) if chosen.paper else None
            tables = [suite_table(chosen, paper, records, part, work_of(part, runs, standing(runs)))]
        else:
            if task is not None and task not in {record.task for record in records}:
                raise unknown("task with records", task, {record.task for record in records})
            names = [task] if task else sorted({record.task for record in records})
            if not names:
                raise UserError(f"no records in {runs}; make some: bench run --method dmd2 --task digits")
            tables = [task_table(records, name) for name in names]
        render = to_csv if format_ is Format.csv else to_markdown
        for table in tables:
            print(render(table))
        if figure is not None:
            if part is not None:
                logs = suite_logs(part, records, runs)
            else:
                shown = {table.data["task"].iloc[0] for table in tables if len(table.data)}
                logs = {
                    f"{record.task}: {record.run_id}": log
                    for record in records
                    if record.kind == "method"
                    and record.task in shown
                    and (log := runs / record.task / record.run_id / METRICS).exists()
                }
            if not logs:
                raise UserError(f"no training logs in {runs} to draw")
            progress_figure(logs, figure, chosen.curves if suite else ("brightness", "fd"))
            print(f"figure: {figure}")
