"""`bench report`: tables compiled from the records, the paper's values beside ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import suite_names, task_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import RunsOption
from bench.cli.terminal import print
from bench.core.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.report.table import ReportTable
    from bench.runs.records import Record
    from bench.runs.suites import Curve


class Format(StrEnum):
    """How a table is printed."""

    md = "md"
    csv = "csv"


def report(
    task: Annotated[
        str | None, typer.Option("--task", help="All that was recorded on a task.", autocompletion=task_names)
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="A suite's table, with the paper's values.", autocompletion=suite_names),
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", help="The suite's scale: micro or paper.", show_default="micro")
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Markdown, or tidy CSV in full precision.", show_default="md"),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw brightness and FD over training, a PNG.")
    ] = None,
    committed: Annotated[bool, typer.Option(help="Read the records that come with the package, too.")] = True,
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Compile tables from the records of this machine and those that come with the package."""
    from bench.report.render import to_csv, to_data, to_markdown
    from bench.runs.records import collector_paused

    if scale is not None and suite is None:
        raise UserError("--scale goes with --suite; a task has one scale")
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure takes a .png, .pdf or .svg file, not {figure}")
    if as_json and format_ is not None:
        raise UserError(f"--json is a format of its own; fix: leave out --format {format_.value}")
    with collector_paused():  # once, for all of it: where it ends, the collector searches what was made
        records = _records(runs, committed)
        if suite is not None:
            shown = _of_suite(records, suite, scale or "micro", task, runs)
        else:
            shown = _of_tasks(records, task, runs)
        if as_json:
            print_json({"tables": [to_data(table) for table in shown.tables]})
        else:
            render = to_csv if format_ is Format.csv else to_markdown
            for table in shown.tables:
                print(render(table))
        if figure is not None:
            _draw(shown, figure, runs)
            print(f"figure: {figure}", file=sys.stderr if as_json else sys.stdout)


@dataclass(frozen=True)
class _Shown:
    """What there is to show of records."""

    tables: Sequence[ReportTable]
    logs: Callable[[], Mapping[str, Path]]
    """Find the training logs of the tables' runs that are here, by their labels in a figure."""
    curves: Sequence[Curve] = ("brightness", "fd")
    """What a figure draws of them."""


def _records(runs: Path, committed: bool) -> list[Record]:
    """Each run's record, or this machine's where both are there; a file that is none is told of."""
    from bench.runs.records import load_records
    from bench.runs.suites import RESULTS

    folders = [runs, RESULTS / "records"] if committed else [runs]
    found = load_records(folder for folder in folders if folder.is_dir())
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return list({(record.run_id, record.task): record for record in reversed(found.records)}.values())[::-1]


def _of_suite(records: Sequence[Record], name: str, scale: str, task: str | None, runs: Path) -> _Shown:
    """A suite's table at a scale, on its own task or another. Raises UserError for an unknown one of these."""
    from bench.cli.run_state import standing
    from bench.report.table import suite_table
    from bench.report.todo import work_of
    from bench.runs.registry import load_catalogue
    from bench.runs.suites import load_suite

    suite = load_suite(name)
    part = suite.scale(scale)
    if task is not None:
        known = {record.task for record in records} | set(load_catalogue([]).tasks.entries)
        if task not in known and not (runs / task).is_dir():
            raise unknown(f"task with nothing in {runs}:", task, known)
        part = part.on(task)

    def logs() -> Mapping[str, Path]:
        from bench.report.figures import suite_logs

        return suite_logs(part, records, runs)

    work = work_of(part, runs, standing(runs))
    return _Shown([suite_table(suite, suite.paper_table(), records, part, work)], logs, suite.curves)


def _of_tasks(records: Sequence[Record], task: str | None, runs: Path) -> _Shown:
    """A table of all that was recorded on a task, or on each. Raises UserError if nothing was."""
    from bench.report.table import task_table

    recorded = {record.task for record in records}
    if task is not None and task not in recorded:
        raise unknown("task with records", task, recorded)
    names = [task] if task else sorted(recorded)
    if not names:
        raise UserError(f"no records in {runs}; make some: bench run --method dmd2 --task digits")

    def logs() -> Mapping[str, Path]:
        from bench.report.figures import task_logs

        return task_logs(names, records, runs)

    return _Shown([task_table(records, name) for name in names], logs)


def _draw(shown: _Shown, figure: Path, runs: Path) -> None:
    """Draw the runs' training. Raises UserError if none of their logs is here."""
    from bench.report.figures import progress_figure

    logs = shown.logs()
    if not logs:
        raise UserError(f"no training logs in {runs} to draw")
    for problem in progress_figure(logs, figure, shown.curves):
        print(f"warning: {problem}", file=sys.stderr)
