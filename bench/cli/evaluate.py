"""`bench eval`: a saved student, or a named sampler of the teacher."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from bench.cli.run import RunIdOption, WorkerOption, refuse_another_plan
from tasks.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.records import MetricResult
    from bench.registry import Catalogue
    from bench.runner import Runner
    from tasks.progress import Progress
    from tasks.task import Task


def evaluate(
    task: Annotated[str, typer.Option("--task", help="The task whose protocol is used.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A saved student: a run's folder or its student folder."),
    ] = None,
    protocol: ProtocolOption = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="A named sampler of the teacher.")] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of the checkpoint's sampler, where it has several."),
    ] = None,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
    worker: WorkerOption = False,
    run_id: RunIdOption = None,
) -> None:
    """Evaluate a saved student, or the teacher with a named sampler, under the task's protocol."""
    from bench.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = declared_task(catalogue, task, cache, protocol)
    where = sources(declared, cache, data, download)
    if (checkpoint is None) == (sampler is None):
        raise UserError(
            "bench eval takes either --checkpoint PATH or --sampler NAME "
            f"(samplers of {task}: {', '.join(declared.baselines)})"
        )
    if sampler is not None and steps is not None:
        raise UserError(f"--steps goes with --checkpoint; the sampler {sampler!r} has its own")
    if sampler is not None and sampler not in declared.baselines:
        raise unknown("sampler", sampler, declared.baselines)
    if checkpoint is not None and not checkpoint.exists():
        raise UserError(f"no folder or file {checkpoint}; --checkpoint takes a run's folder, or a student's")

    import torch
    from rich.console import Console

    from bench.distributed import from_main, join_workers
    from bench.plan import BaselineRun
    from bench.progress import StatusProgress
    from bench.runner import Runner

    torch.set_num_threads(threads)
    run = BaselineRun(declared, runs, declared.baselines[sampler]) if sampler else None
    progress: Progress = StatusProgress(None, Console(stderr=True), draw=True)
    if run is not None and worker:
        refuse_another_plan(run, run_id)
        progress = join_workers(run.folder)
        from_main(run.begin)
    prepared = declared.prepare(where, progress)
    if run is not None:
        metrics: Sequence[MetricResult] = Runner(catalogue, prepared, progress).baseline(run).metrics
        print(f"record: {run.record}")
    else:
        assert checkpoint is not None
        metrics = _measure(Runner(catalogue, prepared, progress), checkpoint, steps, runs)
    for metric in metrics:
        spread = f"  [{metric.low:.6g}, {metric.high:.6g}]" if metric.low is not None else ""
        print(f"{metric.title:<28} {metric.value:.6g}{spread}")


def _measure(runner: Runner, checkpoint: Path, steps: int | None, runs: Path) -> Sequence[MetricResult]:
    """Measure a saved student; of a finished run, under a protocol other than its own, keep a record beside it:
    one of its task, or of another with the same students.

    So, too, of the student in a run's `best` folder, under any protocol: its record says how it was chosen.
    Published weights, which are of no run, have a record of their own in the folder of the runs.
    """
    from bench.best import read_best
    from bench.plan import PublishedRun
    from bench.provenance import provenance
    from bench.recording import of_the_best, under_another_protocol
    from bench.records import other_protocol_path, read_record, write_record
    from bench.runner import few_step_sampler, student_generator
    from bench.trained import STUDENT
    from tasks.files import path_sha256
    from tasks.saved import DESCRIPTION

    prepared = runner.prepared
    if checkpoint.name == STUDENT and (checkpoint / DESCRIPTION).is_file():
        checkpoint = checkpoint.parent  # whichever of the two was named, the record is kept
    path = checkpoint / "student" if (checkpoint / "student").is_dir() else checkpoint
    sha256 = path_sha256(path)
    student, indices = prepared.load_student(path, steps)
    if path == checkpoint and not (path / DESCRIPTION).is_file():
        name = (path if path.is_dir() else path.with_suffix("")).resolve().name
        sampler = few_step_sampler(student, indices)
        published = PublishedRun(prepared.task, runs, name, sha256, sampler)
        record = runner.published(published, student, indices)
        print(f"record: {published.record}")
        return record.metrics
    with tempfile.TemporaryDirectory() as scratch:
        metrics, _ = runner.evaluator.evaluate(student_generator(student, indices), Path(scratch), sha256)
    best = read_best(checkpoint)
    run = checkpoint if best is None else checkpoint.parent
    if path != checkpoint and (run / "record.json").is_file():
        record, protocol = read_record(run / "record.json"), prepared.task.protocol
        if best is not None:
            record = of_the_best(record, best)
        own = record.checkpoint is not None and record.checkpoint.sha256 == sha256
        another = best is not None or record.protocol_sha256 != protocol.digest()
        if own and another and _same_students(runner.catalogue, record.task, prepared.task):
            found = under_another_protocol(record, prepared, provenance("fp32"), metrics)
            target = other_protocol_path(run, protocol.name, protocol.digest(), best is not None)
            write_record(target, found)
            print(f"record: {target}")
    return metrics


def _same_students(catalogue: Catalogue, trained_on: str, task: Task) -> bool:
    """Whether students of the task `trained_on` are measured by `task`: it is the same, or takes its recipes."""
    if trained_on == task.name:
        return True
    known = catalogue.tasks.entries
    other = catalogue.tasks.get(trained_on) if trained_on in known else None
    return other is not None and (other.recipes or other.name) == (task.recipes or task.name)
