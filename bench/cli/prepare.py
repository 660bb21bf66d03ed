"""`bench prepare`: data, teacher, feature network, reference statistics."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ThreadsOption,
    sources,
)


def prepare(
    task: Annotated[str, typer.Option("--task", help="The task to prepare.")],
    pairs: Annotated[
        int, typer.Option("--pairs", min=0, help="Also make this many teacher noise-image pairs.")
    ] = 0,
    data: DataOption = None,
    download: DownloadOption = False,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Make or find all that a task needs, each cached by content, and print its size and hash."""
    from bench.registry import load_catalogue

    declared = load_catalogue(plugin).tasks.get(task)

    import torch
    from rich.console import Console

    from bench.progress import StatusProgress
    from tasks.files import human_size

    torch.set_num_threads(threads)
    progress = StatusProgress(None, Console(stderr=True), draw=True)
    prepared = declared.prepare(sources(cache, data, download), progress)
    assets = [*prepared.data, *prepared.weights]
    if pairs:
        prepared.pairs(pairs)
        assets.append(prepared.asset_of_pairs(pairs))
    for asset in assets:
        print(f"{asset.role:<20}{human_size(asset.bytes):>10}  sha256 {asset.sha256[:16]}  {asset.path or ''}")
