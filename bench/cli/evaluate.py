"""`bench eval`: a saved student, or a named sampler of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import metric_names, sampler_names, task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProtocolOption,
    RunsOption,
    StepsOption,
    StudentStartOption,
    ThreadsOption,
    parse_names,
    subject_of,
)
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.runs.task_sources import pinned_task, sources_of
from bench.task.declaration import Baseline

if TYPE_CHECKING:
    from bench.metrics.result import MetricResult


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
        str | None, typer.Option("--sampler", help="A named sampler of the teacher.", autocompletion=sampler_names)
    ] = None,
    steps: StepsOption = None,
    student_start: StudentStartOption = None,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Evaluate a saved student, or the teacher with a named sampler, under the task's protocol."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    metrics_asked = parse_names(metric, "--metric") if metric else ()
    declared = pinned_task(catalogue, task, cache, protocol, metrics_asked)
    where = sources_of(declared, cache, data, download)
    subject = subject_of("bench eval", declared, checkpoint, sampler, steps)

    import torch
    from rich.console import Console

    from bench.core.progress_bars import StatusProgress
    from bench.report.cells import one_result
    from bench.runs.plan import BaselineRun
    from bench.runs.runner import Runner
    from bench.runs.students import measure_student

    torch.set_num_threads(threads)
    progress = StatusProgress(Console(stderr=True))
    metrics: Sequence[MetricResult]
    if isinstance(subject, Baseline):
        if student_start is not None:
            raise UserError("--student-start goes with --checkpoint; fix: leave it out with --sampler")
        run = BaselineRun(declared, runs, subject)
        metrics = Runner(catalogue, declared.prepare(where, progress), progress).baseline(run).metrics
        print(f"record: {run.record}")
    else:
        runner = Runner(catalogue, declared.prepare(where, progress), progress)
        measured = measure_student(runner, subject, steps, student_start, runs)
        metrics = measured.metrics
        if measured.record is not None:
            print(f"record: {measured.record}")
    for one in metrics:
        print(one_result(one, declared.protocol.as_dict()))
