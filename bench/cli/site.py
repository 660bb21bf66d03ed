"""`bench site` makes a static site of the records: leaderboards, suites, runs and comparisons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import suite_names, task_names
from bench.cli.options import PluginOption, RunsOption
from bench.cli.terminal import print


def site(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Further records: folders and bundles.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the site; replaces an older site.")] = Path("site"),
    suite: Annotated[
        list[str],
        typer.Option(
            "--suite", help="Only these suites, by name or .toml file; repeatable.", autocompletion=suite_names
        ),
    ] = [],
    task: Annotated[
        list[str], typer.Option("--task", help="Only these tasks; repeatable.", autocompletion=task_names)
    ] = [],
    runs: RunsOption = Path("runs"),
    committed: Annotated[bool, typer.Option(help="Also show the records that are part of the package.")] = True,
    plugin: PluginOption = [],
) -> None:
    """Make a static site of the records of this machine, of those that come with the package, and of others."""
    from bench.report.site.build import build_site
    from bench.report.site.choice import chosen_site
    from bench.runs.records import collector_paused

    with chosen_site(runs, committed, paths or (), suite, task, plugin) as chosen, collector_paused():
        count = build_site(chosen, out)
    for problem in chosen.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(f"{count} pages of {len(chosen.entries)} records: {out / 'index.html'}")
