"""`bench latency`: how long one image takes, by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import CacheOption, DownloadOption, PluginOption, ThreadsOption, declared_task, sources
from tasks.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.latency import Latency


def latency(
    task: Annotated[str, typer.Option("--task", help="The task whose images are made.")],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="A run's folder, a student's, or published weights.")
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="A named baseline of the task.")] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of the checkpoint's sampler, where it has several."),
    ] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed images.")] = 20,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Untimed images before them.")] = 3,
    bf16: Annotated[bool, typer.Option("--bf16", help="Denoise under bf16 autocast; else in float32.")] = False,
    download: DownloadOption = False,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Time one image at a time, from the prompt or class to the pixels: batch 1, after warm-up, device named."""
    from bench.registry import load_catalogue

    declared = declared_task(load_catalogue(plugin), task, cache)
    if (checkpoint is None) == (sampler is None):
        raise UserError("bench latency takes either --checkpoint PATH or --sampler NAME")
    if sampler is not None and sampler not in declared.baselines:
        raise unknown("sampler", sampler, declared.baselines)
    if checkpoint is not None and not checkpoint.exists():
        raise UserError(f"no folder or file {checkpoint}; --checkpoint takes a run's folder, or a student's")

    import torch
    from rich.console import Console

    from bench.latency import latency_of
    from bench.progress import StatusProgress
    from bench.runner import student_generator
    from tasks.prepared import Sampled

    torch.set_num_threads(threads)
    progress = StatusProgress(None, Console(stderr=True), draw=True)
    prepared = declared.prepare(sources(declared, cache, download=download), progress)
    if checkpoint is not None:
        folder = checkpoint / "student" if (checkpoint / "student").is_dir() else checkpoint
        subject = Sampled(prepared, student_generator(*prepared.load_student(folder, steps)), "")
    else:
        assert sampler is not None
        subject = prepared.sampled(declared.baselines[sampler])
    _print(latency_of(subject, repetitions, warm_up, bf16))


def _print(found: Latency) -> None:
    print(f"one image at a time on {found.device}; {found.repetitions} images after {found.warm_up} untimed ones")
    stages = {
        "conditions": found.text,
        "denoising": found.denoising,
        "decoding": found.decoding,
        "together": found.together,
    }
    for name, spread in stages.items():
        print(f"{name:<12}{spread.median:10.4f} s  [{spread.low:.4f}, {spread.high:.4f}]")
