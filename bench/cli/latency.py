"""`bench latency` measures the time that one image takes, by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import sampler_names, task_names
from bench.cli.options import (
    CacheOption,
    DownloadOption,
    PluginOption,
    StepsOption,
    StudentStartOption,
    ThreadsOption,
    subject_of,
)
from bench.cli.terminal import print
from bench.core.errors import counted
from bench.runs.protocols.derived import sampled_in_bf16, without_metrics
from bench.runs.task_sources import pinned_task, sources_of
from bench.task.declaration import Baseline

if TYPE_CHECKING:
    from bench.evaluation.latency import Latency


def latency(
    task: Annotated[
        str, typer.Option("--task", help="The task whose images are made.", autocompletion=task_names)
    ],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="A run's folder, a student's, or published weights.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", help="A named sampler of the teacher.", autocompletion=sampler_names)
    ] = None,
    steps: StepsOption = None,
    student_start: StudentStartOption = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed images.")] = 20,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Untimed images before them.")] = 3,
    bf16: Annotated[bool, typer.Option("--bf16", help="Networks in bf16, as under a protocol TASK.bf16.")] = False,
    download: DownloadOption = False,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Measure the time of single images, from the prompt or class to the pixels, after a warm-up."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = pinned_task(catalogue, task, cache)
    declared = without_metrics(sampled_in_bf16(declared) if bf16 else declared, repetitions)
    chosen = subject_of("bench latency", declared, checkpoint, sampler, steps)

    from bench.core.cpu import compute_on_cpu
    from bench.core.progress_bars import StatusProgress
    from bench.core.run_folder import student_of
    from bench.evaluation.latency import latency_of
    from bench.runs.students.saved import loaded_student, sampler_of
    from bench.task.base import Sampled

    compute_on_cpu(threads)
    where = sources_of(declared, cache, download=download)
    prepared = declared.prepare(where, StatusProgress())
    if isinstance(chosen, Baseline):
        subject = prepared.sampled(chosen)
    else:
        student, indices = loaded_student(prepared, student_of(chosen), steps, student_start)
        subject = Sampled(prepared, sampler_of(catalogue, chosen, student, indices), "")
    _print(latency_of(subject, repetitions, warm_up))


def _print(found: Latency) -> None:
    from bench.report.measured import fixed

    images = counted(found.repetitions, "image")
    print(f"one image at a time on {found.device}; {images} after {found.warm_up} untimed ones")
    stages = {
        "conditions": found.text,
        "denoising": found.denoising,
        "decoding": found.decoding,
        "together": found.together,
    }
    for name, spread in stages.items():
        median, low, high = (fixed(seconds, 4) for seconds in (spread.median, spread.low, spread.high))
        print(f"{name:<12}{median:>10} s  [{low}, {high}]")
