"""`bench prepare`: data, teacher, feature network, reference statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProtocolOption,
    ThreadsOption,
    declared_task,
    parse_paths,
)
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.core.files import regular_file_or_folder
from bench.task.base import Requirement, Sources, Task, default_cache

SPELT = {"references": "reference", "preferences": "preference"}
"""Options that are not called as the field of Sources that they fill."""


def prepare(
    task: Annotated[str, typer.Option("--task", help="The task to prepare.", autocompletion=task_names)],
    pairs: Annotated[
        int, typer.Option("--pairs", min=0, help="Also make this many teacher noise-image pairs.")
    ] = 0,
    data: DataOption = None,
    crop: Annotated[str, typer.Option("--crop", help="For images of another size: edm or adm.")] = "edm",
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="Published weights of the teacher; read as data, never run.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Published weights of the feature network.")
    ] = None,
    own_weights: Annotated[
        bool, typer.Option("--own-weights", help="Take --features whatever its hash; not comparable with others.")
    ] = False,
    reference: Annotated[
        list[str],
        typer.Option("--reference", help="Reference statistics: a file, or a name of bench refs list."),
    ] = [],
    dinov2: Annotated[
        Path | None, typer.Option("--dinov2", help="A folder with facebook/dinov2-large, for FD-DINOv2.")
    ] = None,
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
    clip: Annotated[
        Path | None, typer.Option("--clip", help="Weights of the CLIP network, open_clip's file.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", help="Weights of LPIPS's trunk, torchvision's file.")
    ] = None,
    preference: Annotated[
        list[str],
        typer.Option(
            "--preference", help="A preference model, NAME=PATH: pickscore, hps or image-reward; repeatable."
        ),
    ] = [],
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
    """Make or find all that a task needs, each cached by content, and print its size and hash."""
    from bench.runs.registry import load_catalogue

    declared = declared_task(load_catalogue(plugin), task, cache, protocol)
    inputs = Sources(
        cache or default_cache(),
        data,
        download,
        teacher=teacher,
        features=features,
        own_weights=own_weights,
        references=tuple(reference),
        dinov2=dinov2,
        prompts=prompts,
        training_prompts=training_prompts,
        reals=reals,
        clip=clip,
        lpips=lpips,
        preferences=parse_paths("--preference", preference),
        tiny_vae=tiny_vae,
        crop=crop,
    )
    refuse_idle(declared, inputs)
    refuse_special(inputs)

    import torch
    from rich.console import Console

    from bench.core.files import human_size
    from bench.core.progress_bars import StatusProgress

    torch.set_num_threads(threads)
    progress = StatusProgress(Console(stderr=True))
    try:
        chosen = declared.choose(inputs, progress)
    except UserError:  # what was wrong follows; this is what the task still lacks without it
        _print_missing(declared.lacks(inputs))
        raise
    prepared = chosen.prepare(inputs, progress)
    assets = [*prepared.data, *prepared.weights]
    if pairs:
        prepared.pairs(pairs)
        assets.append(prepared.asset_of_pairs(pairs))
    if tiny_vae:
        assets += prepared.pixels()[1]
    for asset in assets:
        print(f"{asset.role:<20}{human_size(asset.bytes):>10}  sha256 {asset.sha256[:16]}  {asset.path or ''}")
    _print_missing(need for need in chosen.lacks(inputs) if need.for_training)


def _print_missing(needs: Iterable[Requirement]) -> None:
    for need in needs:
        print(f"{need.role:<20}   missing  {need.what}: {need.fix}")


def refuse_special(inputs: Sources) -> None:
    """Raise UserError for a path that is neither a regular file nor a folder: opening it could take for ever."""
    named = [getattr(inputs, one.name) for one in fields(inputs)]
    for path in [*named, *inputs.preferences.values(), *map(Path, inputs.references)]:
        if isinstance(path, Path) and path.expanduser().exists():
            regular_file_or_folder(path.expanduser())


def refuse_idle(task: Task, inputs: Sources) -> None:
    """Raise UserError for options that the task does not read."""

    def options(names: Iterable[str]) -> str:
        return ", ".join(f"--{SPELT.get(name, name).replace('_', '-')}" for name in names)

    if idle := [name for name in inputs.given if name not in task.takes]:
        raise UserError(f"task {task.name!r} makes nothing of {options(idle)}; it takes {options(task.takes)}")
