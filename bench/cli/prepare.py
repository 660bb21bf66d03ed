"""`bench prepare`: data, teacher, weights of feature extractors, reference statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    OwnWeightsOption,
    PluginOption,
    ProtocolOption,
    ThreadsOption,
    WeightsOption,
)
from bench.cli.parsing import parse_weights
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.core.files import regular_file_or_folder
from bench.runs.task_sources import pinned_task
from bench.runs.weights import located_weights, pin_loaded, pinned_for, refuse_unknown_weights
from bench.task.base import Task
from bench.task.declaration import Requirement, Sources, default_cache

if TYPE_CHECKING:
    from bench.core.progress import Progress
    from bench.features.base import Weights
    from bench.runs.registry import Catalogue
    from bench.task.assets import PreparedAsset
    from bench.task.base import PreparedTask

OPTION_NAMES = {"references": "reference"}
"""Names of options by the field of Sources that they fill, where the two names differ."""


def prepare(
    task: Annotated[str, typer.Option("--task", help="The task to prepare.", autocompletion=task_names)],
    pairs: Annotated[
        int, typer.Option("--pairs", min=0, help="Also make this many teacher noise-image pairs.")
    ] = 0,
    teacher_images: Annotated[
        bool,
        typer.Option("--teacher-images", help="Also make the images of the teacher that FD to it compares with."),
    ] = False,
    data: DataOption = None,
    crop: Annotated[str, typer.Option("--crop", help="For images of another size: edm or adm.")] = "edm",
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="Published weights of the teacher; read as data, never run.")
    ] = None,
    own_weights: OwnWeightsOption = False,
    reference: Annotated[
        list[str],
        typer.Option("--reference", help="Reference statistics: a file, or a name of bench refs list."),
    ] = [],
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="A file with the prompts of a text-to-image evaluation.")
    ] = None,
    training_prompts: Annotated[
        Path | None,
        typer.Option("--training-prompts", help="A file with prompts to train on; else the captions of --data."),
    ] = None,
    reals: Annotated[
        Path | None, typer.Option("--reals", help="A folder of the real images that FID compares with.")
    ] = None,
    weights: WeightsOption = [],
    protocol: ProtocolOption = None,
    tiny_vae: Annotated[
        Path | None,
        typer.Option("--tiny-vae", help="A tiny VAE (madebyollin/taesdxl, or a folder), for losses on pixels."),
    ] = None,
    download: DownloadOption = False,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Make or find all that a task requires, each cached by content, and print its size and hash."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = pinned_task(catalogue, task, cache, protocol)
    named = parse_weights(weights)
    registered = {one.name: one for read in catalogue.extractors.loaded().values() for one in read.weights}
    refuse_unknown_weights(named, [*registered, *declared.weight_names])
    own = {name: path for name, path in named.items() if name in declared.weight_names}
    inputs = Sources(
        cache or default_cache(),
        data,
        download,
        teacher=teacher,
        own_weights=own_weights,
        references=tuple(reference),
        prompts=prompts,
        training_prompts=training_prompts,
        reals=reals,
        weights=own,
        tiny_vae=tiny_vae,
        crop=crop,
    )
    pinned = pinned_for(declared, inputs)
    inputs = replace(inputs, weights=pinned | own, pinned=pinned.keys() - own.keys())
    refuse_idle(declared, inputs)
    refuse_special(inputs, named)

    from bench.core.cpu import compute_on_cpu
    from bench.core.files import human_size
    from bench.core.progress_bars import StatusProgress

    compute_on_cpu(threads)
    progress = StatusProgress()
    try:
        chosen = declared.pin(inputs, progress)
    except UserError:  # the error follows; these are the requirements that are still missing
        _print_missing(declared.missing(inputs))
        raise
    others = {registered[name]: path for name, path in named.items() if name not in own}
    further = _pin_extractors(catalogue, others, inputs, progress)
    prepared = chosen.prepare(inputs, progress)
    assets = [*prepared.data, *prepared.weights, *further]
    if pairs:
        prepared.pairs(pairs)
        assets.append(prepared.asset_of_pairs(pairs))
    if tiny_vae:
        assets += prepared.pixels()[1]
    if teacher_images:
        assets += _teacher_references(catalogue, prepared, progress)
    for asset in assets:
        print(f"{asset.role:<20}{human_size(asset.bytes):>10}  sha256 {asset.sha256[:16]}  {asset.path or ''}")
    _print_missing(one for one in chosen.missing(inputs) if one.for_training)


def _pin_extractors(
    catalogue: Catalogue, given: Mapping[Weights, Path], inputs: Sources, progress: Progress
) -> list[PreparedAsset]:
    """Find weights of extractors that the task itself lacks, and pin them once all are found. Raises UserError."""
    from bench.core.files import folder_size
    from bench.features.pinned import find
    from bench.task.assets import PreparedAsset

    found = {
        weights.name: find(weights, path, inputs.cache, inputs.download, progress, inputs.own_weights)
        for weights, path in given.items()
    }
    for name, one in found.items():
        pin_loaded(located_weights(catalogue, inputs.cache)[name], one, inputs.cache)
    return [PreparedAsset(name, one.path, one.sha256, folder_size(one.path)) for name, one in found.items()]


def _teacher_references(catalogue: Catalogue, prepared: PreparedTask, progress: Progress) -> list[PreparedAsset]:
    """Make the references of the teacher's images. Raises UserError if the protocol compares with none."""
    from bench.runs.runner import Runner

    protocol, before = prepared.task.protocol, len(prepared.data)
    if protocol.teacher_reference is None:
        raise UserError(
            f"protocol {protocol.name!r} compares with no images of the teacher; fix: leave out --teacher-images, "
            "or choose a protocol that does: --protocol NAME"
        )
    Runner(catalogue, prepared, progress)
    return prepared.data[before:]


def _print_missing(missing: Iterable[Requirement]) -> None:
    for one in missing:
        print(f"{one.role:<20}   missing  {one.what}: {one.fix}")


def refuse_special(inputs: Sources, weights: Mapping[str, Path]) -> None:
    """Raise UserError for a path that is neither a regular file nor a folder: opening it could take for ever."""
    named = [getattr(inputs, one.name) for one in fields(inputs)]
    for path in [*named, *weights.values(), *map(Path, inputs.references)]:
        if isinstance(path, Path) and path.expanduser().exists():
            regular_file_or_folder(path.expanduser())


def refuse_idle(task: Task, inputs: Sources) -> None:
    """Raise UserError for options that the task does not read."""

    def options(names: Iterable[str]) -> str:
        return ", ".join(f"--{OPTION_NAMES.get(name, name).replace('_', '-')}" for name in names)

    if idle := [name for name in inputs.given if name not in task.takes]:
        raise UserError(
            f"task {task.name!r} does not use {options(idle)}; fix: leave it out; it uses {options(task.takes)}"
        )
