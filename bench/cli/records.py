"""`bench records`: checking records that others made, and packing one's own for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import task_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, PluginOption, RunsOption
from bench.cli.parsing import optional_names
from bench.cli.terminal import print
from bench.core.errors import counted, listed, unknown

if TYPE_CHECKING:
    from bench.runs.checks.check import Checked

app = typer.Typer(help="Records of results: check those of others, pack one's own.", no_args_is_help=True)


@app.command()
def check(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Records, runs' folders, folders of either, or bundles (.zip)."),
    ],
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Check records, and the files beside them, as reviewers do; exit code 1 if there is an error."""
    from bench.runs.checks.check import Checker
    from bench.runs.registry import load_catalogue

    found = Checker(load_catalogue(plugin), cache).check_all(paths)
    if as_json:
        records = [_data(one) for one in found if one.kind == "record"]
        print_json({"records": records, "others": [_other_data(one) for one in found if one.kind != "record"]})
    else:
        _print(found)
    if any(one.errors for one in found):
        raise typer.Exit(1)


@app.command()
def pack(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Runs: folders, ids, methods for all seeds, METHOD#DIGITS for a recipe."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="A .zip file, or a folder to add to, such as results/records.")
    ] = Path("bundle.zip"),
    task: Annotated[
        str | None, typer.Option("--task", help="Only runs on this task.", autocompletion=task_names)
    ] = None,
    allow: Annotated[
        list[str], typer.Option("--allow", help="Also pack runs that are smoke or dirty; repeatable.")
    ] = [],
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Collect the records of finished runs, their images, curves and plug-in files; all of them, or nothing."""
    from bench.runs.checks.check import Checker
    from bench.runs.named_runs import find_runs
    from bench.runs.packing.pack import STATES, packed, write_packed
    from bench.runs.registry import load_catalogue

    allowed = optional_names(allow, "--allow")
    for state in allowed:
        if state not in STATES:
            raise unknown("state for --allow", state, STATES)
    meant = find_runs(runs, names, task)
    found = packed(meant.folders, Checker(load_catalogue(plugin), cache), allowed)
    if meant.of_tuning:
        print(
            f"{counted(len(meant.of_tuning), 'run')} of a tuning left out, which are no results: "
            f"{listed(one.name for one in meant.of_tuning)}; name them by their ids to pack them"
        )
    for kept in write_packed(found, out):
        print(f"{kept} says the same already, and stays; the files beside it are new")
    for one in found.checked:
        for finding in one.findings:
            print(f"{one}: {finding}")
    for line in found.findings:
        print(line)
    kinds = Counter(Path(name).suffix for name in found.files)
    print(
        f"{out}: {counted(len(found.records), 'record')}, {counted(kinds['.png'], 'sample sheet')}, "
        f"{kinds['.jsonl']} with curves, {kinds['.parquet'] + kinds['.csv']} with scores"
    )
    for name in found.beside:
        print(f"  beside them: {name}")


def _print(found: Sequence[Checked]) -> None:
    """Print one line for each finding, one for equal notes on several files, and a summary."""
    notes: dict[str, list[str]] = {}
    for one in found:
        for finding in one.findings:
            if finding.level == "note":
                notes.setdefault(str(finding), []).append(str(one))
            else:
                print(f"{one}: {finding}")
    for text, files in notes.items():
        print(f"{listed(files, limit=1)}: {text}")
    levels = Counter(finding.level for one in found for finding in one.findings)
    levelled = ", ".join(counted(levels[level], level) for level in ("error", "warning", "note"))
    kinds = Counter(one.kind for one in found)
    counts = ", ".join(counted(count, kind) for kind, count in kinds.items())
    print(f"{counts}: {levelled}")
    known = Counter((one.record.task, one.record.protocol["name"]) for one in found if one.known and one.record)
    for (task, protocol), count in sorted(known.items()):
        print(f"  {counted(count, 'record')}: protocol {protocol!r}, as task {task!r} declares it here")


def _other_data(one: Checked) -> dict[str, Any]:
    return {"file": str(one), "kind": one.kind, "findings": _findings(one)}


def _findings(one: Checked) -> list[dict[str, str]]:
    return [{"level": found.level, "what": found.what, "fix": found.fix} for found in one.findings]


def _data(one: Checked) -> dict[str, Any]:
    return {
        "file": str(one),
        "run_id": one.record.run_id if one.record else None,
        "task": one.record.task if one.record else None,
        "accepted": not one.errors,
        "protocol_known": one.known,
        "findings": _findings(one),
    }
