"""`bench scores`: what single images scored, by category, length or class, and the worst and best of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import metric_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.known_records import CommittedOption, ResultsProtocolOption, ResultsTaskOption, known_records
from bench.cli.options import CacheOption, PluginOption, RunsOption
from bench.cli.parsing import optional_names
from bench.cli.terminal import print, print_blocks
from bench.core.errors import UserError

if TYPE_CHECKING:
    from bench.report.scores.extremes import End
    from bench.report.scores.text import Listed, Scored
    from bench.report.sides import Found


def scores(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Run ids, folders of runs, records, or methods and samplers on --task."
        ),
    ],
    by: Annotated[
        str, typer.Option("--by", help="Split by category, length (words of the prompt) or class.")
    ] = "all",
    bins: Annotated[int, typer.Option("--bins", min=1, max=100, help="Groups of --by length.")] = 4,
    metric: Annotated[
        list[str],
        typer.Option("--metric", help="Show these alone, with commas; repeatable.", autocompletion=metric_names),
    ] = [],
    worst: Annotated[int, typer.Option("--worst", min=0, help="Also list so many of the worst images.")] = 0,
    best: Annotated[int, typer.Option("--best", min=0, help="Also list so many of the best images.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Draw the listed images of one run in one metric, a PNG.")
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Confidence of intervals.")] = 0.95,
    task: ResultsTaskOption = None,
    protocol: ResultsProtocolOption = None,
    committed: CommittedOption = True,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the groups as CSV, in full precision.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the scores of single images: means by group with intervals, and the worst and best images."""
    from bench.report.scores.text import (
        listed_blocks,
        listed_images,
        rows_of,
        scored,
        split_blocks,
        to_csv,
        to_data,
    )
    from bench.report.selection import Selection

    if as_csv and as_json:
        raise UserError("--csv and --json are two formats; fix: leave one out")
    ends: dict[End, int] = {"worst": worst, "best": best}
    ends = {end: count for end, count in ends.items() if count}
    if sheet is not None and (sheet.suffix != ".png" or not ends):
        raise UserError(
            f"--sheet {sheet} draws a .png of --worst or --best images; fix: --worst 16 --sheet worst.png"
        )
    selection = Selection(known_records(runs, committed), protocol, runs)
    chosen = [one for name in results for one in selection.side(name, task).found]
    names = optional_names(metric, "--metric")
    found = [scored(one, names) for one in chosen]
    if sheet is not None and (len(found) > 1 or len(found[0].scores) > 1):
        raise UserError(
            f"--sheet draws images of one run in one metric, and here are {len(found)} runs with "
            f"{', '.join(found[0].scores)}; fix: name one run, and --metric NAME"
        )
    rows = rows_of(found, by, level, bins)
    blocks = split_blocks(found, rows, by, level)
    images = listed_images(found, ends)
    blocks += listed_blocks(found, images)
    if as_json:
        print_json(to_data(rows, images, by, level))
    elif as_csv:
        print(to_csv(rows).rstrip("\n"))
    else:
        print_blocks(blocks)
    if sheet is not None:
        _draw(chosen[0], found[0], images, sheet, cache, plugin)
        print(f"sheet: {sheet}", file=sys.stderr if as_json or as_csv else sys.stdout)


def _draw(
    found: Found,
    result: Scored,
    images: list[Listed],
    sheet: Path,
    cache: Path | None,
    plugin: list[Path],
) -> None:
    """Draw the listed images; they are those that were kept, or are made again."""
    from bench.report.scores.sheet import Labelled, draw_scored
    from bench.runs.evidence.images import images_of
    from bench.runs.evidence.sheets import preparer
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    every = [one for listed in images for one in listed.images]
    places = [(one.repetition, one.index) for one in every]
    pixels, origin = images_of(
        found.record,
        found.path,
        places,
        catalogue,
        preparer(catalogue, cache),
        lambda text: print(text, file=sys.stderr),
    )
    (metric,) = result.scores
    what = " and ".join(listed.end for listed in images)
    title = f"{found.record.run_id}: {what} in {result.title(metric)}; images {origin}"
    tiles = [
        Labelled(
            image,
            f"score {one.value:.4g}" + (f", seed {one.seed}" if one.seed is not None else ""),
            one.prompt or f"image {one.index}",
            one.reason or "",
        )
        for image, one in zip(pixels, every, strict=True)
    ]
    draw_scored(title, tiles, sheet)
