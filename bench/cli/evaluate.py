"""`bench eval`: a saved student, or a named sampler of the teacher."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProtocolOption,
    RunsOption,
    ThreadsOption,
    declared_task,
    sources,
)
from bench.cli.run import WorkerOption
from tasks.errors import UserError, unknown


def evaluate(
    task: Annotated[str, typer.Option("--task", help="The task whose protocol is used.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A saved student: a run's folder or its student folder."),
    ] = None,
    protocol: ProtocolOption = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="A named sampler of the teacher.")] = None,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
    worker: WorkerOption = False,
) -> None:
    """Evaluate a saved student, or the teacher with a named sampler, under the task's protocol."""
    from bench.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = declared_task(catalogue, task, cache, protocol)
    if (checkpoint is None) == (sampler is None):
        raise UserError(
            "bench eval takes either --checkpoint PATH or --sampler NAME "
            f"(samplers of {task}: {', '.join(declared.baselines)})"
        )
    if sampler is not None and sampler not in declared.baselines:
        raise unknown("sampler", sampler, declared.baselines)
    if checkpoint is not None and not checkpoint.is_dir():
        raise UserError(f"no folder {checkpoint}; --checkpoint takes a run's folder or its student folder")

    folder = checkpoint
    if checkpoint is not None:
        folder = checkpoint / "student" if (checkpoint / "student").is_dir() else checkpoint
        if not (folder / "denoiser.json").is_file():
            raise UserError(f"{folder} holds no denoiser.json: not a denoiser saved by bench")

    import torch
    from rich.console import Console

    from bench.distributed import worker_progress
    from bench.evaluation import Evaluator
    from bench.plan import BaselineRun
    from bench.progress import StatusProgress
    from bench.runner import Runner, metrics_of, student_generator
    from tasks.files import folder_sha256
    from tasks.progress import Progress

    torch.set_num_threads(threads)
    run = BaselineRun(declared, runs, declared.baselines[sampler]) if sampler else None
    progress: Progress = StatusProgress(None, Console(stderr=True), draw=True)
    if run is not None and worker:
        progress = worker_progress(run.folder)
    prepared = declared.prepare(sources(cache, data, download), progress)
    if run is not None:
        metrics = Runner(catalogue, prepared, progress).baseline(run).metrics
        print(f"record: {run.record}")
    else:
        assert folder is not None
        student, indices = prepared.load_student(folder)
        evaluator = Evaluator(prepared, metrics_of(catalogue, prepared), progress)
        generator = student_generator(student, indices)
        with tempfile.TemporaryDirectory() as scratch:
            metrics, _ = evaluator.evaluate(generator, Path(scratch), folder_sha256(folder))
    for metric in metrics:
        spread = f"  [{metric.low:.6g}, {metric.high:.6g}]" if metric.low is not None else ""
        print(f"{metric.title:<28}{metric.value:.6g}{spread}")
