"""`bench eval`: a saved student, a named sampler of the teacher, or images from anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import metric_names, sampler_names, task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    KeepOption,
    PluginOption,
    ProtocolOption,
    RunsOption,
    StudentStartOption,
    ThreadsOption,
)
from bench.cli.parsing import optional_names, parse_keep
from bench.cli.subjects import FROM_OUTSIDE, Subject
from bench.cli.terminal import print
from bench.runs.task_sources import pinned_task, sources_of


def evaluate(
    task: Annotated[
        str, typer.Option("--task", help="The task whose protocol is used.", autocompletion=task_names)
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A saved student: a run's folder or its student folder."),
    ] = None,
    protocol: ProtocolOption = None,
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            help="Measure these alone, with commas, as a protocol of its own; repeatable.",
            autocompletion=metric_names,
        ),
    ] = [],
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="A named sampler of the teacher, or your function, file.py:function(conditions, seeds).",
            autocompletion=sampler_names,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Your images: a folder, a zip or a webdataset; 000123.png is image 123 = repetition x samples + "
            "index. One repetition's images or all; nothing is resized or left out (docs/evaluate.md).",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            help="CSV or JSON lines that say of each of --images its file, and index, prompt or class.",
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", help="A diffusers pipeline: a folder, or a name on the hub."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A scheduler of diffusers by its class, for --pipeline.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="The guidance scale, for --pipeline.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, bfloat16 or float16, for --pipeline."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The row's name in tables, for --images, --pipeline and a function."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, help="Steps of the checkpoint's sampler, where it has several, or of --pipeline."
        ),
    ] = None,
    student_start: StudentStartOption = None,
    keep: KeepOption = [],
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Evaluate a student, a sampler of the teacher, your own images, a pipeline or a function under a protocol."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    kinds = parse_keep(keep)
    metrics = optional_names(metric, "--metric")
    declared = pinned_task(catalogue, task, cache, protocol, metrics)
    where = sources_of(declared, cache, data, download)
    subject = Subject(
        checkpoint, sampler, images, pipeline, steps, student_start, manifest, scheduler, guidance, dtype, name
    )

    if subject.kind in FROM_OUTSIDE:
        declared = declared.for_images()

    from bench.core.progress_bars import StatusProgress

    progress = StatusProgress()
    measure = subject.measuring(declared, runs, catalogue.methods.entries, progress, download)

    from bench.core.cpu import compute_on_cpu
    from bench.report.cells import one_result
    from bench.runs.runner import Runner

    compute_on_cpu(threads)
    prepared = declared.prepare(where, progress)
    measured = measure(Runner(catalogue, prepared, progress, keep=kinds))
    if measured.record is not None:
        print(f"record: {measured.record}")
    for one in measured.metrics:
        print(one_result(one, declared.protocol.as_dict()))
