"""`bench list` and `bench describe`, which import no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import described_names, task_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, PluginOption, declared_task
from bench.cli.requirements import need_lines
from bench.cli.terminal import print
from bench.core.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.metrics.catalogue import MetricInfo
    from bench.runs.registry import Catalogue
    from bench.runs.suites import Suite
    from bench.task.base import Task
    from bench.training.recipe import Recipe
    from methods.catalogue import Method


class Kind(StrEnum):
    """The kinds of names that `bench list` shows."""

    methods = "methods"
    tasks = "tasks"
    metrics = "metrics"
    suites = "suites"


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only this kind.", show_default="all")] = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """List methods, tasks, metrics and suites."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    listed = {which.value: _listed(catalogue, which) for which in ([kind] if kind else list(Kind))}
    if as_json:
        print_json({name: [asdict(row) for row in rows] for name, rows in listed.items()})
        return
    for name, rows in listed.items():
        print(name)
        width = max((len(row.name) for row in rows), default=0)
        for row in rows:
            print(f"  {row.name:<{width}}  {row}")


@dataclass(frozen=True)
class _Listed:
    """A line of `bench list`; the field names are keys of its JSON."""

    name: str
    summary: str
    origin: str
    """Distribution and version, or the plug-in file."""
    error: str | None = None
    """The reason why it cannot be loaded."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"[broken] {self.error}"
        return (
            self.summary if self.origin.startswith("distillation-bench ") else f"{self.summary}  [{self.origin}]"
        )


def _listed(catalogue: Catalogue, kind: Kind) -> list[_Listed]:
    """Return all names of a kind; a broken plug-in is shown as such, and fails only when it is used."""
    if kind is Kind.suites:
        from bench import __version__
        from bench.runs.suites import load_suite, suite_names

        origin = f"distillation-bench {__version__}"
        return [_Listed(name, load_suite(name).title, origin) for name in suite_names()]
    rows = []
    for entry in getattr(catalogue, kind.value):
        try:
            rows.append(_Listed(entry.name, entry.load().summary, entry.origin))
        except UserError as error:
            rows.append(_Listed(entry.name, "", entry.origin, str(error)))
    return rows


def describe(
    name: Annotated[str, typer.Argument(help="A method, task, metric or suite.", autocompletion=described_names)],
    task: Annotated[
        str | None, typer.Option("--task", help="Resolve the recipe on this task.", autocompletion=task_names)
    ] = None,
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Describe one name: recipe, protocol, requirements, licences, cost."""
    from bench.runs.registry import load_catalogue
    from bench.runs.suites import load_suite, suite_names

    catalogue = load_catalogue(plugin)
    if name in catalogue.methods.entries:
        on = declared_task(catalogue, task, cache) if task else None
        data, show = _method_data(catalogue, name, on, cache), _print_method
    elif task is not None:
        raise UserError(f"--task needs a method, and {name!r} is not one; fix: leave out --task")
    elif name in catalogue.tasks.entries:
        data, show = _task_data(declared_task(catalogue, name, cache), cache), _print_task
    elif name in catalogue.metrics.entries:
        data, show = _metric_data(catalogue.metrics.get(name)), _print_metric
    elif name in suite_names():
        data, show = _suite_data(load_suite(name)), _print_suite
    else:
        every = [
            *catalogue.methods.entries,
            *catalogue.tasks.entries,
            *catalogue.metrics.entries,
            *suite_names(),
        ]
        raise unknown("name", name, every)
    if as_json:
        print_json(data)
    else:
        show(data)


def _method_data(catalogue: Catalogue, name: str, task: Task | None, cache: Path | None) -> dict[str, Any]:
    """Describe a method; its recipe is resolved on a task if there is one."""
    entry = catalogue.methods.find(name)
    method = entry.load()
    recipe = method.recipe(task.recipes or task.name, task.scale, {}) if task else method.recipe("", "paper", {})
    return {
        "kind": "method",
        "name": name,
        "summary": method.summary,
        "class": method.distiller,
        "origin": entry.origin,
        "recipe": recipe.model_dump(),
        "cost": list(_costs(method, recipe, task)),
        "task": _task_data(task, cache) if task else None,
    }


def _print_method(data: Mapping[str, Any]) -> None:
    task = data["task"]
    print(f"method {data['name']}: {data['summary']}")
    print(f"  class   {data['class']}\n  origin  {data['origin']}")
    at_paper_scale = "recipe: the defaults, at paper scale; add --task for the recipe on a task"
    print(f"recipe on {task['name']}" if task else at_paper_scale)
    for key, value in data["recipe"].items():
        print(f"  {key:<36}{value}")
    print("cost")
    for line in data["cost"]:
        print(f"  {line}")
    if task:
        _print_task(task)


def _metric_data(info: MetricInfo) -> dict[str, Any]:
    return {
        "kind": "metric",
        "name": info.name,
        "title": info.title,
        "direction": info.direction,
        "min_samples": info.min_samples,
        "summary": info.summary,
        "source": info.source,
    }


def _print_metric(data: Mapping[str, Any]) -> None:
    print(f"metric {data['name']}: {data['title']}")
    print(f"  better    {data['direction']}\n  at least  {data['min_samples']} images")
    print(f"  summary   {data['summary']}\n  source    {data['source']}")


def _suite_data(suite: Suite) -> dict[str, Any]:
    def row(name: str, label: str) -> dict[str, str]:
        return {"name": name, "label": label}

    scales = [
        {
            "name": part.name,
            "task": part.task,
            "seeds": list(part.seeds),
            "columns": list(part.columns),
            "baselines": [row(one.sampler, one.label or "a sampler of the task") for one in part.baselines],
            "published": [row(one.checkpoint, one.label) for one in part.published],
            "methods": [row(one.method, one.label) for one in part.rows],
        }
        for part in suite.scales.values()
    ]
    return {"kind": "suite", "name": suite.name, "title": suite.title, "scales": scales}


def _print_suite(data: Mapping[str, Any]) -> None:
    print(f"suite {data['name']}: {data['title']}")
    for scale in data["scales"]:
        print(f"{scale['name']}: {scale['task']}, {len(scale['seeds'])} seed(s); {', '.join(scale['columns'])}")
        for row in (*scale["baselines"], *scale["published"], *scale["methods"]):
            print(f"  {row['name']:<36}{row['label']}")


def _costs(method: Method, recipe: Recipe, task: Task | None) -> Iterator[str]:
    """Return the lines on what the recipe takes: counted, published, and recorded."""
    from bench.core.files import human_size
    from methods.cost import forward_passes, generator_updates, least_memory, sharers
    from methods.recipes import DMDRecipe

    updates = generator_updates(recipe) if isinstance(recipe, DMDRecipe) else recipe.iterations
    images = recipe.iterations * recipe.batch_size
    yield f"{recipe.iterations} iterations, {updates} generator updates, {images} training images"
    if isinstance(recipe, DMDRecipe):
        passes = ", ".join(f"{name} {count}" for name, count in forward_passes(recipe).items() if count)
        yield f"forward passes of a batch: {passes}"
    if task is None:
        return
    if task.network_parameters is not None:
        size = human_size(least_memory(recipe, task.network_parameters))
        millions = task.network_parameters / 1e6
        counted = f"{size} for {millions:.1f} million parameters a network"
        yield f"memory of {sharers(recipe)}: {counted}, and the activations"
    if task.name in method.published:
        yield f"published: {method.published[task.name]}"
    yield from _recorded_costs(method.name, task.name)


def _recorded_costs(method: str, task: str) -> list[str]:
    """Return the training times, with their machines, from the committed records."""
    import json

    from bench.runs.suites import RESULTS

    lines = []
    for path in sorted((RESULTS / "records" / task).glob(f"{method}-s[0-9]*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        cost, made = record["cost"], record["provenance"]
        lines.append(
            f"recorded: {cost['train_seconds']:.0f} s for {cost['iterations']} iterations "
            f"({made['gpu'] or made['cpu']}, {made['threads']} thread(s); seed {record['train_seed']})"
        )
    return lines


def _task_data(task: Task, cache: Path | None) -> dict[str, Any]:
    """Describe a task, its protocol, and what of its requirements is here."""
    return {
        "kind": "task",
        "name": task.name,
        "summary": task.summary,
        "scale": task.scale,
        "image_shape": list(task.image_shape),
        "protocol": task.protocol.as_dict(),
        "protocol_sha256": task.protocol.digest(),
        "baselines": [
            {"name": one.name, "summary": one.summary, "network_evaluations": one.network_evaluations}
            for one in task.baselines.values()
        ],
        "requirements": [
            {"role": line.role, "text": line.text, "present": line.is_here} for line in need_lines(task, cache)
        ],
        "licences": dict(task.licences),
    }


def _print_task(data: Mapping[str, Any]) -> None:
    print(f"task {data['name']}: {data['summary']}")
    print(f"  scale   {data['scale']}\n  images  {'x'.join(map(str, data['image_shape']))}")
    print(f"protocol {data['protocol']['name']}, sha256 {data['protocol_sha256'][:12]}")
    for key, value in data["protocol"].items():
        print(f"  {key:<14}{', '.join(value) if isinstance(value, list) else value}")
    print("baselines")
    for one in data["baselines"]:
        print(f"  {one['name']:<16}  {one['summary']}; {one['network_evaluations']} network evaluations")
    print("requirements")
    for one in data["requirements"]:
        print(f"  {one['role']:<15}  {one['text']}")
    print("licences")
    for name, licence in data["licences"].items():
        print(f"  {name:<10}{licence}")
