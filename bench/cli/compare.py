"""`bench compare`: values, differences with a test, recipe differences, and images with identical noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import metric_names, suite_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.known_records import CommittedOption, ResultsProtocolOption, ResultsTaskOption, known_records
from bench.cli.options import (
    CacheOption,
    PluginOption,
    RunsOption,
    ScaleOption,
    refuse_scale_alone,
)
from bench.cli.parsing import optional_names
from bench.cli.terminal import print, print_blocks
from bench.core.errors import UserError

if TYPE_CHECKING:
    from bench.report.selection import Selection
    from bench.report.sides import Side
    from bench.runs.registry import Catalogue


def compare(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B ...",
            help="Run ids or their beginnings, folders of runs, records, or methods and samplers on --task.",
            show_default=False,
        ),
    ] = None,
    task: ResultsTaskOption = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="All rows of a suite's table, by its name or its .toml file.",
            autocompletion=suite_names,
        ),
    ] = None,
    scale: ScaleOption = None,
    protocol: ResultsProtocolOption = None,
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric", help="Compare these alone, with commas; repeatable.", autocompletion=metric_names
        ),
    ] = [],
    level: Annotated[float, typer.Option("--level", help="Confidence of tests and intervals.")] = 0.95,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also draw images with identical noise side by side, a PNG.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=50, help="Rows of --sheet.")] = 10,
    committed: CommittedOption = True,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Compare results of one protocol: values, differences, a test for each pair, recipes, and images."""
    from bench.report.comparison.comparing import compared
    from bench.report.comparison.data import to_data
    from bench.report.comparison.text import blocks
    from bench.report.selection import Selection
    from bench.runs.records import collector_paused
    from bench.runs.registry import load_catalogue

    refuse_scale_alone(scale, suite)
    if suite is not None and results:
        raise UserError(f"--suite compares all rows of {suite}; fix: leave out {' '.join(results)}, or --suite")
    if sheet is not None and sheet.suffix != ".png":
        raise UserError(f"--sheet takes a .png file, not {sheet}; fix: --sheet compared.png")
    catalogue = load_catalogue(plugin)
    with collector_paused():
        selection = Selection(known_records(runs, committed), protocol, runs)
        columns: tuple[str, ...] = ()
        if suite is not None:
            sides, columns = _rows(selection, catalogue, suite, scale or "micro", task, runs)
        else:
            sides = selection.sides(results or (), task)
        found = compared(sides, optional_names(metric, "--metric") or columns, level)
    if as_json:
        print_json(to_data(found))
    else:
        print_blocks(blocks(found))
    if sheet is not None:
        from bench.report.comparison.sheet import columns_of, draw_comparison

        draw_comparison(columns_of(sides, selection, catalogue, cache, _say), samples, sheet)
        print(f"sheet: {sheet}", file=sys.stderr if as_json else sys.stdout)


def _rows(
    selection: Selection, catalogue: Catalogue, suite: str, scale: str, task: str | None, runs: Path
) -> tuple[list[Side], tuple[str, ...]]:
    """Return the rows of a suite that have results, and the metrics that its table shows."""
    from bench.runs.suites.reading import load_suite
    from bench.runs.suites.settled import settled

    found = load_suite(suite)
    part = settled(found.chosen(scale, task), catalogue, runs)
    for note in filter(None, (part.note, selection.left_out(found, part))):
        _say(note)
    return selection.suite(found, part), part.columns


def _say(text: str) -> None:
    print(text, file=sys.stderr)
