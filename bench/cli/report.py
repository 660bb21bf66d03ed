"""`bench report` compiles tables from the records, with the paper's values beside ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import suite_names, task_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.known_records import CommittedOption, known_records
from bench.cli.options import (
    PluginOption,
    RunsOption,
    ScaleOption,
    refuse_given,
    refuse_scale_alone,
)
from bench.cli.terminal import print, print_tables
from bench.core.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.report.sides import Found
    from bench.report.table import ReportTable
    from bench.runs.registry import Catalogue
    from bench.runs.suites.suite import Curve


def report(
    task: Annotated[
        str | None, typer.Option("--task", help="All records on a task.", autocompletion=task_names)
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="The table of a suite, by its name or its .toml file, with the paper's values.",
            autocompletion=suite_names,
        ),
    ] = None,
    scale: ScaleOption = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="A renderer: terminal, md, csv (tidy, full precision), tex, html or one of --plugin; "
            "bench list renderers shows all.",
            show_default="terminal, or md where stdout is no terminal",
        ),
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="Show every column and note in the terminal, in blocks that fit it.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw brightness and FD over training, a PNG.")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option("--sweep", help="The table of a sweep, from its record RUNS/sweeps/NAME.json.")
    ] = None,
    committed: CommittedOption = True,
    runs: RunsOption = Path("runs"),
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Compile tables from the records of this machine and those that come with the package."""
    from bench.report.render import to_data
    from bench.runs.records import collector_paused
    from bench.runs.registry import load_catalogue

    refuse_scale_alone(scale, suite)
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure takes a .png, .pdf or .svg file, not {figure}; fix: --figure figure.png")
    if as_json and format_ is not None:
        raise UserError(f"--json is a format of its own; fix: leave out --format {format_}")
    if sweep is not None:
        given = {"--task": task, "--suite": suite, "--wide": wide or None}
        refuse_given(given, "does not go with --sweep, a table of its own; fix: leave it out")
        _show_sweep(sweep, format_, as_json, figure)
        return
    catalogue = load_catalogue(plugin)
    renderer = catalogue.renderers.get(format_) if format_ else None
    if wide and (as_json or (renderer and not renderer.for_terminal)):
        shown_by = "--json" if as_json else f"--format {format_}"
        raise UserError(f"--wide is for the terminal, and {shown_by} has every column; fix: leave out --wide")
    with collector_paused():  # once for everything, since the collector searches all records at each end
        recorded = _recorded(runs, committed)
        if suite is not None:
            shown = _of_suite(recorded, catalogue, suite, scale or "micro", task, runs)
        else:
            shown = _of_tasks(recorded, task, runs)
        if as_json:
            print_json({"tables": [to_data(table) for table in shown.tables]})
        else:
            print_tables(shown.tables, renderer, wide)
        if figure is not None:
            _draw(shown, figure, runs)
            print(f"figure: {figure}", file=sys.stderr if as_json else sys.stdout)


def _show_sweep(path: Path, format_: str | None, as_json: bool, figure: Path | None) -> None:
    """Print a sweep's table from its record, and draw its figure. Raises UserError for a format it has not."""
    from bench.report.sweeps.figure import sweep_figure
    from bench.report.sweeps.table import to_csv, to_lines
    from bench.runs.sweeps.plan import choice_lines
    from bench.runs.sweeps.record import read_sweep

    found = read_sweep(path)
    if format_ not in (None, "md", "csv"):
        raise UserError(f"the table of a sweep is md or csv, not {format_}; fix: --format csv, or leave it out")
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif format_ == "csv":
        print(to_csv(found).rstrip("\n"))
    else:
        for line in (*to_lines(found), "", *choice_lines(found)):
            print(line)
    if figure is not None:
        sweep_figure(found, figure)
        print(f"figure: {figure}", file=sys.stderr if as_json or format_ == "csv" else sys.stdout)


@dataclass(frozen=True)
class _Shown:
    """The tables of a report, and the logs for its figure."""

    tables: Sequence[ReportTable]
    logs: Callable[[], Mapping[str, Path]]
    """Find the training logs beside the tables' records, by their labels in a figure."""
    curves: Sequence[Curve] = ("brightness", "fd")
    """The curves of its figure."""


def _recorded(runs: Path, committed: bool) -> list[Found]:
    """Return one record for each run, with its file; this machine's wins over a committed one.

    Results of different networks are different ones, in tables of their own. Broken files are warned of.
    """
    from bench.report.sides import Found

    loaded, once = known_records(runs, committed), dict[tuple[str, ...], Found]()
    for record, path in zip(loaded.records, loaded.paths, strict=True):
        once.setdefault(record.result_of, Found(record, path))
    return list(once.values())


def _of_suite(
    recorded: Sequence[Found],
    catalogue: Catalogue,
    name: str,
    scale: str,
    task: str | None,
    runs: Path,
) -> _Shown:
    """Return a suite's table at a scale, on its own task or another. Raises UserError for unknown names."""
    from bench.jobs.run_states import state_lookup
    from bench.report.table import suite_table
    from bench.report.todo import pending_of
    from bench.runs.suites.reading import load_suite
    from bench.runs.suites.settled import settled

    suite = load_suite(name)
    part = suite.scale(scale)
    records = [one.record for one in recorded]
    if task is not None:
        known = {record.task for record in records} | set(catalogue.tasks.entries)
        if task not in known and not (runs / task).is_dir():
            raise unknown(f"task with nothing in {runs}:", task, known)
        part = part.on(task)
    part = settled(part, catalogue, runs)

    def logs() -> Mapping[str, Path]:
        from bench.report.figures import suite_logs

        return suite_logs(part, recorded)

    pending = pending_of(part, runs, state_lookup(runs))
    return _Shown([suite_table(suite, suite.paper_table(), records, part, pending)], logs, suite.curves)


def _of_tasks(recorded: Sequence[Found], task: str | None, runs: Path) -> _Shown:
    """Return a table of all records on one task, or on each task. Raises UserError if there are none."""
    from bench.report.table import task_table

    records = [one.record for one in recorded]
    known = {record.task for record in records}
    if task is not None and task not in known:
        raise unknown("task with records", task, known)
    names = [task] if task else sorted(known)
    if not names:
        raise UserError(f"no records in {runs}; fix: bench run --method dmd2 --task digits")

    def logs() -> Mapping[str, Path]:
        from bench.report.figures import task_logs

        return task_logs(names, recorded)

    return _Shown([task_table(records, name) for name in names], logs)


def _draw(shown: _Shown, figure: Path, runs: Path) -> None:
    """Draw the runs' training. Raises UserError if no log lies beside their records."""
    from bench.report.figures import progress_figure

    logs = shown.logs()
    if not logs:
        raise UserError(
            f"neither these records in {runs} nor the committed ones have a training log to draw; "
            "fix: leave out --figure, or give --runs FOLDER"
        )
    for problem in progress_figure(logs, figure, shown.curves):
        print(f"warning: {problem}", file=sys.stderr)
