"""`bench weights`: the weights of feature extractors, where they are, and whether they are right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import metric_names, task_names, weights_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, PluginOption
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.core.files import folder_size, human_size
from bench.task.declaration import default_cache

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue
    from bench.runs.weights import Located
    from bench.task.base import Task

app = typer.Typer(help="Weights of feature extractors: list, get, check.", no_args_is_help=True)

NamesArgument = Annotated[
    list[str], typer.Argument(help="Names that `bench weights list` shows.", autocompletion=weights_names)
]


@app.command("list")
def list_(
    task: Annotated[
        str | None, typer.Option("--task", help="Only what this task reads.", autocompletion=task_names)
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Only what this metric reads.", autocompletion=metric_names)
    ] = None,
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """List weights: what reads them, where they are, hash, licence, and the command that gets them."""
    from bench.runs.registry import load_catalogue
    from bench.runs.task_sources import pinned_task
    from bench.runs.weights import located_weights
    from bench.runs.weights_readers import readers

    catalogue = load_catalogue(plugin)
    if metric is not None:
        catalogue.metrics.find(metric)
    of = None if task is None else pinned_task(catalogue, task, cache)
    located = located_weights(catalogue, cache or default_cache())
    metrics = readers(catalogue, located.values(), of)
    pins = _pins(catalogue, of, cache or default_cache())
    rows = [
        _row(one, metrics[name], pins.get(name, {}))
        for name, one in located.items()
        if of is None or metrics[name] or name in pins
    ]
    if metric is not None:
        rows = [row for row in rows if metric in row["metrics"]]
    elif of is not None:
        rows += _task_rows(of, cache, {row["name"] for row in rows})
    if as_json:
        print_json({"weights": rows})
        return
    if rows:
        print(f"{'weights':<24}{'where':<10}{'sha256':<14}size")
    for row in rows:
        _print_row(row)
    if not rows:
        print("no registered weights are read; all of them: bench weights list")


def _pins(catalogue: Catalogue, task: Task | None, cache: Path) -> dict[str, dict[str, str]]:
    """Return the paths of weights that tasks have pinned for themselves: by weights, by task."""
    from bench.runs.weights import task_pins

    found: dict[str, dict[str, str]] = {}
    for name in catalogue.tasks.entries if task is None else [task.name]:
        with contextlib.suppress(UserError):  # `bench doctor` shows a broken task
            for weights, asset in task_pins(task or catalogue.tasks.get(name), cache).items():
                found.setdefault(weights, {})[name] = asset.path
    return found


def _row(one: Located, metrics: list[str], tasks: Mapping[str, str]) -> dict[str, Any]:
    weights = one.weights
    published = "" if weights.file is None else weights.file.sha256
    return {
        "name": one.name,
        "files": weights.files,
        "extractors": [extractor.name for extractor in one.extractors],
        "metrics": metrics,
        "tasks": tasks,
        "place": one.place,
        "path": None if one.found is None else one.found.path,
        "sha256": published if one.found is None else one.found.sha256,
        "published_sha256": published,
        "bytes": one.bytes,
        "licence": weights.licence,
        "source": weights.source,
        "command": weights.command,
    }


def _task_rows(task: Task, cache: Path | None, known: set[str]) -> Iterable[dict[str, Any]]:
    """Return the weights that a task pins for itself: its teacher, and what else it reads."""
    from bench.runs.task_sources import sources_of

    for one in task.requirements(sources_of(task, cache)):
        if one.role in {"teacher", *task.weight_names} - known:
            yield {
                "name": one.role,
                "files": one.what,
                "extractors": [],
                "metrics": [],
                "tasks": {},
                "place": "pinned" if one.path is not None else "not here",
                "path": one.path,
                "sha256": "",
                "published_sha256": "",
                "bytes": None if one.path is None else folder_size(one.path),
                "licence": task.licences.get(one.role, "see its source"),
                "source": f"task {task.name}",
                "command": one.fix,
            }


def _print_row(row: Mapping[str, Any]) -> None:
    size = human_size(row["bytes"]) if row["bytes"] is not None else "size unknown"
    print(f"{row['name']:<24}{row['place']:<10}{row['sha256'][:12] or 'no hash yet':<14}{size}")
    if row["metrics"]:
        print(f"  metrics  {', '.join(row['metrics'])}")
    print(f"  files    {row['files']}")
    print(f"  licence  {row['licence']}")
    print(f"  source   {row['source']}")
    for task, path in row["tasks"].items():
        print(f"  pinned   for task {task}: {path}")
    print(f"  at       {row['path']}" if row["place"] == "pinned" else f"  get      {row['command']}")


@app.command("get")
def get(
    names: NamesArgument,
    path: Annotated[
        Path | None, typer.Option("--from", help="A file or folder that you have; it stays where it is.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download a published file, and verify its hash.")
    ] = False,
    own_weights: Annotated[
        bool,
        typer.Option("--own-weights", help="Take --from whatever its hash; not comparable with others."),
    ] = False,
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Pin weights for every task, from a path, from the cache or from their publisher.

    What is not known by its hash is loaded first, and refused if a tensor is missing, or one of another network.
    """
    from bench.runs.registry import load_catalogue
    from bench.runs.weights import get_weights, located_weights, refuse_unknown_weights

    if path is not None and (download or len(names) > 1):
        other = "--download" if download else f"several names ({', '.join(names)})"
        raise UserError(f"--from is one path, and does not go with {other}; fix: one name for each --from PATH")
    catalogue, where = load_catalogue(plugin), cache or default_cache()
    refuse_unknown_weights(names, located_weights(catalogue, where))

    from bench.core.progress_bars import StatusProgress

    progress = StatusProgress()
    for name in dict.fromkeys(names):
        found = get_weights(
            *(catalogue, name, None if path is None else path.expanduser(), where, progress),
            download=download,
            own_weights=own_weights,
        )
        size = human_size(folder_size(found.path))
        print(f"{name:<24}pinned    {found.sha256[:12]}  {size}  {found.path}")


@app.command("check")
def check(
    names: NamesArgument = [],
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Check that weights are unchanged and that every extractor loads them; exit code 1 if any is wrong.

    Without names, all that are pinned or in the cache are checked. They are loaded on the CPU.
    """
    from dataclasses import asdict

    from bench.runs.registry import load_catalogue
    from bench.runs.weights import check_weights

    done = []
    for one in check_weights(load_catalogue(plugin), names, cache or default_cache()):
        done.append(one)
        if not as_json:
            print(f"{one.name:<24}{one.outcome}  {f'{one.path}: ' if one.path else ''}{one.text}")
    if as_json:
        print_json({"weights": [asdict(one) for one in done]})
    elif not done:
        print("no weights are here; what exists, and how to get it: bench weights list")
    if any(one.outcome == "FAILED" for one in done):
        raise typer.Exit(1)
