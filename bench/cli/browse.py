"""`bench list` and `bench describe`: what there is, without importing torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import CacheOption, PluginOption
from bench.cli.requirements import need_lines
from bench.cli.terminal import print
from bench.core.errors import UserError, unknown
from bench.runs.task_sources import pinned_task

if TYPE_CHECKING:
    from bench.data.base import Dataset
    from bench.features.base import FeatureExtractor
    from bench.metrics.info import MetricInfo
    from bench.runs.registry import Catalogue, Entry
    from bench.runs.suites import Suite
    from bench.task.base import Task
    from bench.training.method import Method
    from bench.training.recipe import Recipe


class Kind(StrEnum):
    """What `bench list` can list."""

    methods = "methods"
    tasks = "tasks"
    metrics = "metrics"
    extractors = "extractors"
    datasets = "datasets"
    suites = "suites"


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only this kind.", show_default="all")] = None,
    plugin: PluginOption = [],
) -> None:
    """List methods, tasks, metrics, feature extractors, data sets and suites."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    for which in [kind] if kind else list(Kind):
        print(f"{which.value}")
        if which is Kind.suites:
            from bench.runs.suites import load_suite, suite_names

            rows = [(name, load_suite(name).title) for name in suite_names()]
        else:
            registry = catalogue.registries[which.value.removesuffix("s")]
            rows = [(entry.name, _summary(entry)) for entry in registry]
        width = max((len(name) for name, _ in rows), default=0)
        for name, summary in rows:
            print(f"  {name:<{width}}  {summary}")


def _summary(entry: Entry[Any]) -> str:
    """One line about an entry; a broken plug-in is shown as such, and only fails when it is asked for."""
    try:
        thing = entry.load()
    except UserError as error:
        return f"[broken] {error}"
    origin = "" if entry.origin.startswith("distillation-bench ") else f"  [{entry.origin}]"
    return f"{thing.summary}{origin}"


def describe(
    name: Annotated[str, typer.Argument(help="A method, task, metric, feature extractor, data set or suite.")],
    task: Annotated[str | None, typer.Option("--task", help="Resolve the recipe on this task.")] = None,
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Show all about one name: recipe, protocol, requirements, weights, licences, cost."""
    from bench.runs.registry import load_catalogue
    from bench.runs.suites import load_suite, suite_names

    catalogue, suites = load_catalogue(plugin), list(suite_names())
    _refuse_unknown(catalogue, name, suites)
    if name in catalogue.methods.entries:
        _describe_method(catalogue, name, pinned_task(catalogue, task, cache) if task else None, cache)
    elif task is not None:
        raise UserError(f"--task goes with a method, and {name!r} is none; fix: leave out --task")
    if name in catalogue.tasks.entries:
        _describe_task(pinned_task(catalogue, name, cache), cache)
    if name in catalogue.metrics.entries:
        _describe_metric(catalogue.metrics.get(name))
    if name in catalogue.extractors.entries:
        _describe_extractor(catalogue.extractors.get(name))
    if name in catalogue.datasets.entries:
        _describe_dataset(catalogue.datasets.get(name))
    if name in suites:
        _describe_suite(load_suite(name))


def _refuse_unknown(catalogue: Catalogue, name: str, suites: Sequence[str]) -> None:
    every = [*(key for registry in catalogue.registries.values() for key in registry.entries), *suites]
    if name not in every:
        raise unknown("name", name, every)


def _describe_method(catalogue: Catalogue, name: str, task: Task | None, cache: Path | None) -> None:
    entry = catalogue.methods.find(name)
    method = entry.load()
    print(f"method {name}: {method.summary}")
    print(f"  class   {method.distiller}\n  origin  {entry.origin}")
    if task is None:
        recipe = method.recipe("", "paper", {})
        print("recipe: the defaults, at paper scale; add --task for the recipe on a task")
    else:
        recipe = method.recipe(task.recipes or task.name, task.scale, {})
        print(f"recipe on {task.name}")
    values = recipe.model_dump()
    for key, value in values.items():
        print(f"  {key:<36}{value}")
    print("cost")
    for line in _costs(method, recipe, task):
        print(f"  {line}")
    if task is not None:
        _describe_task(task, cache)


def _describe_metric(info: MetricInfo) -> None:
    print(f"metric {info.name}: {info.title}")
    print(f"  better    {info.direction}\n  at least  {info.min_samples} images")
    reference = "and those of real images" if info.needs_reference else "alone"
    extractor = "the protocol's own" if info.extractor == "main" else info.extractor
    print(f"  reads     the features of generated images {reference}; feature extractor: {extractor}")
    print(f"  what      {info.summary}\n  source    {info.source}")


def _describe_extractor(extractor: FeatureExtractor) -> None:
    print(f"feature extractor {extractor.name}: {extractor.summary}")
    print(f"  images    {extractor.preprocessing}\n  output    {extractor.output}")
    for one in extractor.weights:
        print(f"  weights   --weights {one.name}=PATH: {one.files} ({one.source})")
        print(f"  licence   {one.licence}")
        if one.file is not None:
            print(f"  sha256    {one.file.sha256}")


def _describe_dataset(data: Dataset) -> None:
    print(f"data set {data.name}: {data.summary}")
    print(f"  licence   {data.licence}\n  get it    {data.fix}")


def _describe_suite(suite: Suite) -> None:
    print(f"suite {suite.name}: {suite.title}")
    for part in suite.scales.values():
        print(f"{part.name}: {part.task}, {len(part.seeds)} seed(s); {', '.join(part.columns)}")
        for entry in part.baselines:
            print(f"  {entry.sampler:<36}{entry.label or 'a sampler of the task'}")
        for student in part.published:
            print(f"  {student.checkpoint:<36}{student.label}")
        for row in part.rows:
            print(f"  {row.method:<36}{row.label}")


def _costs(method: Method, recipe: Recipe, task: Task | None) -> Iterator[str]:
    """The lines on what the recipe takes: counted, published, and recorded."""
    from bench.core.files import human_size
    from bench.training.cost import memory_holder

    cost, images = recipe.cost(), recipe.iterations * recipe.batch_size
    yield f"{recipe.iterations} iterations, {cost.generator_updates} generator updates, {images} training images"
    for direction in ("forward", "backward"):
        counts = {name: getattr(passes, direction) for name, passes in cost.passes.items()}
        yield f"{direction} passes of a batch: {', '.join(f'{name} {n}' for name, n in counts.items() if n)}"
    if task is None:
        return
    if task.network_parameters is not None:
        size = human_size(cost.least_memory(task.network_parameters))
        millions = task.network_parameters / 1e6
        counted = f"{size} for {millions:.1f} million parameters a network"
        yield f"memory of {memory_holder(recipe.sharding)}: {counted}, and the activations"
    if task.name in method.published:
        yield f"published: {method.published[task.name]}"
    yield from _recorded_costs(method.name, task.name)


def _recorded_costs(method: str, task: str) -> list[str]:
    """What the records that come with the package say of the time this took, and where."""
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


def _describe_task(task: Task, cache: Path | None) -> None:
    print(f"task {task.name}: {task.summary}")
    print(f"  scale   {task.scale}\n  images  {'x'.join(map(str, task.image_shape))}")
    print(f"protocol {task.protocol.name}, sha256 {task.protocol.digest()[:12]}")
    for key, value in task.protocol.as_dict().items():
        print(f"  {key:<14}{', '.join(value) if isinstance(value, list) else value}")
    print("baselines")
    for baseline in task.baselines.values():
        print(f"  {baseline.name:<16}  {baseline.summary}; {baseline.network_evaluations} network evaluations")
    print("needs")
    for need in need_lines(task, cache):
        print(f"  {need.role:<15}  {need.text}")
    print("licences")
    for what, licence in task.licences.items():
        print(f"  {what:<10}{licence}")
