"""`bench describe`, which imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import described_names, task_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, PluginOption
from bench.cli.requirements import requirement_lines
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.runs.task_sources import pinned_task

if TYPE_CHECKING:
    from bench.data.base import Dataset
    from bench.features.base import FeatureExtractor
    from bench.metrics.info import MetricInfo
    from bench.runs.registry import Catalogue
    from bench.runs.suites.suite import Suite
    from bench.task.base import Task
    from bench.training.method import Method
    from bench.training.recipe import Recipe


def describe(
    name: Annotated[
        str,
        typer.Argument(
            help="A method, task, metric, feature extractor, data set or suite.", autocompletion=described_names
        ),
    ],
    task: Annotated[
        str | None, typer.Option("--task", help="Resolve the recipe on this task.", autocompletion=task_names)
    ] = None,
    cache: CacheOption = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Describe one name: recipe, protocol, requirements, weights, licences, cost."""
    from bench.runs.registry import load_catalogue, unregistered
    from bench.runs.suites.reading import is_suite_file, load_suite, suite_names

    catalogue = load_catalogue(plugin)
    every = [*(key for registry in catalogue.registries.values() for key in registry.entries), *suite_names()]
    if name not in every and not is_suite_file(name):
        raise unregistered("name", name, every)
    if name in catalogue.methods.entries:
        on = pinned_task(catalogue, task, cache) if task else None
        data, show = _method_data(catalogue, name, on, cache), _print_method
    elif task is not None:
        raise UserError(f"--task needs a method, and {name!r} is not one; fix: leave out --task")
    elif name in catalogue.tasks.entries:
        data, show = _task_data(pinned_task(catalogue, name, cache), catalogue, cache), _print_task
    elif name in catalogue.metrics.entries:
        data, show = _metric_data(catalogue.metrics.get(name)), _print_metric
    elif name in catalogue.extractors.entries:
        data, show = _extractor_data(catalogue.extractors.get(name)), _print_extractor
    elif name in catalogue.datasets.entries:
        data, show = _dataset_data(catalogue.datasets.get(name)), _print_dataset
    elif name in suite_names() or is_suite_file(name):
        data, show = _suite_data(load_suite(name)), _print_suite
    else:  # of a kind that has nothing more to show, such as a renderer
        raise UserError(f"{name!r} has no description; fix: bench list shows its line")
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
        "task": _task_data(task, catalogue, cache) if task else None,
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
        "extractor": info.extractor,
        "needs_reference": info.needs_reference,
        "compares_with": info.compares_with if info.needs_reference else None,
        "summary": info.summary,
        "source": info.source,
    }


def _print_metric(data: Mapping[str, Any]) -> None:
    print(f"metric {data['name']}: {data['title']}")
    print(f"  better    {data['direction']}\n  at least  {data['min_samples']} images")
    others = {"real": "and those of real images", "teacher": "and those of the teacher's", None: "alone"}
    reference = others[data["compares_with"]]
    extractor = "the protocol's own" if data["extractor"] == "main" else data["extractor"]
    print(f"  reads     the features of generated images {reference}; feature extractor: {extractor}")
    print(f"  summary   {data['summary']}\n  source    {data['source']}")


def _extractor_data(extractor: FeatureExtractor) -> dict[str, Any]:
    weights = [
        {
            "name": one.name,
            "files": one.files,
            "source": one.source,
            "licence": one.licence,
            "sha256": None if one.file is None else one.file.sha256,
            "command": one.command,
        }
        for one in extractor.weights
    ]
    return {
        "kind": "extractor",
        "name": extractor.name,
        "summary": extractor.summary,
        "preprocessing": extractor.preprocessing,
        "output": extractor.output,
        "weights": weights,
    }


def _print_extractor(data: Mapping[str, Any]) -> None:
    print(f"feature extractor {data['name']}: {data['summary']}")
    print(f"  images    {data['preprocessing']}\n  output    {data['output']}")
    for one in data["weights"]:
        print(f"  weights   {one['name']}: {one['files']} ({one['source']})")
        print(f"  get them  {one['command']}")
        print(f"  licence   {one['licence']}")
        if one["sha256"] is not None:
            print(f"  sha256    {one['sha256']}")


def _dataset_data(dataset: Dataset) -> dict[str, Any]:
    return {
        "kind": "dataset",
        "name": dataset.name,
        "summary": dataset.summary,
        "licence": dataset.licence,
        "fix": dataset.fix,
    }


def _print_dataset(data: Mapping[str, Any]) -> None:
    print(f"data set {data['name']}: {data['summary']}")
    print(f"  licence   {data['licence']}\n  get it    {data['fix']}")


def _suite_data(suite: Suite) -> dict[str, Any]:
    def row(name: str, label: str) -> dict[str, Any]:
        return {"name": name, "label": label}

    scales = [
        {
            "name": part.name,
            "task": part.task,
            "seeds": list(part.seeds),
            "columns": list(part.columns),
            "baselines": [row(one.sampler, one.label or "a sampler of the task") for one in part.baselines],
            "published": [row(one.checkpoint, one.label) for one in part.published],
            "methods": [row(one.method, one.label) | {"tune": dict(one.tune)} for one in part.rows],
            "budget": str(part.budget) if part.budget else "",
        }
        for part in suite.scales.values()
    ]
    return {"kind": "suite", "name": suite.name, "title": suite.title, "scales": scales}


def _print_suite(data: Mapping[str, Any]) -> None:
    print(f"suite {data['name']}: {data['title']}")
    for scale in data["scales"]:
        print(f"{scale['name']}: {scale['task']}, {len(scale['seeds'])} seed(s); {', '.join(scale['columns'])}")
        if scale["budget"]:
            print(f"  at most {scale['budget']} a training")
        for row in (*scale["baselines"], *scale["published"], *scale["methods"]):
            grid = "; ".join(f"{key} {values}" for key, values in row.get("tune", {}).items())
            print(f"  {row['name']:<36}{row['label']}{f': tuned over {grid}' if grid else ''}")


def _costs(method: Method, recipe: Recipe, task: Task | None) -> Iterator[str]:
    """Return the lines on what the recipe takes: counted, published, and recorded."""
    from bench.core.files import human_size
    from bench.training.budget import Spent, cost_of
    from bench.training.cost import memory_holder, not_counted

    cost, spent = cost_of(recipe), Spent.by(recipe)
    updates = f"{spent.iterations} iterations, {spent.generator_updates} generator updates"
    yield f"{updates}, {spent.images} training images, {spent.passes:.0f} passes of an image"
    for direction in ("forward", "backward"):
        counts = {name: getattr(passes, direction) for name, passes in cost.passes.items()}
        yield f"{direction} passes of a batch: {', '.join(f'{name} {n}' for name, n in counts.items() if n)}"
    if task is None:
        return
    if task.network_parameters is not None:
        size = human_size(recipe.least_memory(task.network_parameters))
        millions = task.network_parameters / 1e6
        counted = f"{size} for {millions:.1f} million parameters a network"
        yield f"memory of {memory_holder(recipe.sharding)}: {counted}, {not_counted(recipe.one_base)}"
    if task.name in method.published:
        yield f"published: {method.published[task.name]}"
    yield from _recorded_costs(method.name, task.name)


def _recorded_costs(method: str, task: str) -> list[str]:
    """Return the training times, with their machines, from the committed records."""
    import json

    from bench.runs.result_files import RESULTS

    lines = []
    for path in sorted((RESULTS / "records" / task).glob(f"{method}-s[0-9]*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        cost, made = record["cost"], record["provenance"]
        lines.append(
            f"recorded: {cost['train_seconds']:.0f} s for {cost['iterations']} iterations "
            f"({made['gpu'] or made['cpu']}, {made['threads']} thread(s); seed {record['train_seed']})"
        )
    return lines


def _task_data(task: Task, catalogue: Catalogue, cache: Path | None) -> dict[str, Any]:
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
            {"role": line.role, "text": line.text, "present": line.is_here}
            for line in requirement_lines(task, catalogue, cache)
        ],
        "licences": dict(task.licences),
    }


def _print_task(data: Mapping[str, Any]) -> None:
    print(f"task {data['name']}: {data['summary']}")
    print(f"  scale   {data['scale']}\n  images  {'x'.join(map(str, data['image_shape']))}")
    print(f"protocol {data['protocol']['name']}, sha256 {data['protocol_sha256'][:12]}")
    for key, value in data["protocol"].items():
        print(f"  {key:<19}{', '.join(value) if isinstance(value, list) else value}")
    print("baselines")
    for one in data["baselines"]:
        print(f"  {one['name']:<16}  {one['summary']}; {one['network_evaluations']} network evaluations")
    print("requirements")
    for one in data["requirements"]:
        print(f"  {one['role']:<15}  {one['text']}")
    print("licences")
    for name, licence in data["licences"].items():
        print(f"  {name:<16}  {licence}")
