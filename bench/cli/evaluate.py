"""`bench eval`: a saved student, or a named sampler of the teacher."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import sampler_names, task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProtocolOption,
    RunIdOption,
    RunsOption,
    StepsOption,
    StudentStartOption,
    ThreadsOption,
    WorkerOption,
    declared_task,
    loaded_student,
    sources,
    subject_of,
)
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.task.base import Baseline

if TYPE_CHECKING:
    from bench.core.progress import Progress
    from bench.metrics.result import MetricResult
    from bench.runs.registry import Catalogue
    from bench.runs.runner import Runner
    from bench.task.base import Task


def evaluate(
    task: Annotated[
        str, typer.Option("--task", help="The task whose protocol is used.", autocompletion=task_names)
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A saved student: a run's folder or its student folder."),
    ] = None,
    protocol: ProtocolOption = None,
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
    worker: WorkerOption = False,
    run_id: RunIdOption = None,
) -> None:
    """Evaluate a saved student, or the teacher with a named sampler, under the task's protocol."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = declared_task(catalogue, task, cache, protocol)
    where = sources(declared, cache, data, download)
    subject = subject_of("bench eval", declared, checkpoint, sampler, steps)

    import torch
    from rich.console import Console

    from bench.core.distributed import from_main, join_workers
    from bench.core.progress_bars import StatusProgress
    from bench.core.stopping import DivergedError
    from bench.report.cells import one_result
    from bench.runs.plan import BaselineRun, refuse_another_plan
    from bench.runs.runner import Runner

    torch.set_num_threads(threads)
    progress: Progress = StatusProgress(Console(stderr=True))
    metrics: Sequence[MetricResult]
    if isinstance(subject, Baseline):
        if student_start is not None:
            raise UserError("--student-start goes with --checkpoint; fix: leave it out with --sampler")
        run = BaselineRun(declared, runs, subject)
        if worker:
            refuse_another_plan(run, run_id)
            progress = join_workers(run.folder)
            from_main(run.begin)
        metrics = Runner(catalogue, declared.prepare(where, progress), progress).baseline(run).metrics
        print(f"record: {run.record}")
    else:
        runner = Runner(catalogue, declared.prepare(where, progress), progress)
        try:
            metrics = _measure(runner, subject, steps, student_start, runs)
        except DivergedError as error:
            raise UserError(
                f"{subject}: {error}; its training has diverged, or the file is damaged; fix: name another student"
            ) from None
    for metric in metrics:
        print(one_result(metric, declared.protocol.as_dict()))


def _measure(
    runner: Runner, checkpoint: Path, steps: int | None, start: float | None, runs: Path
) -> Sequence[MetricResult]:
    """Measure a saved student, or published weights, which are of no run: those have a record of their own."""
    from bench.core.files import path_sha256
    from bench.core.run_folder import PLAN, STUDENT, student_of
    from bench.models.saved import DESCRIPTION
    from bench.runs.plan import PublishedRun
    from bench.runs.runner import sampler_description, student_sampler

    if checkpoint.name == STUDENT and (checkpoint / DESCRIPTION).is_file():
        checkpoint = checkpoint.parent  # whichever of the two was named, the record is kept
    path = student_of(checkpoint)
    if path == checkpoint and (checkpoint / PLAN).is_file():
        raise UserError(f"the run in {checkpoint} has no student yet: its training is not over; fix: bench resume")
    sha256 = path_sha256(path)
    student, indices = loaded_student(runner.prepared, path, steps, start)
    if path == checkpoint and not (path / DESCRIPTION).is_file():
        name = (path if path.is_dir() else path.with_suffix("")).resolve().name
        described = sampler_description(student, indices)
        published = PublishedRun(runner.prepared.task, runs, name, sha256, described)
        record = runner.published(published, student, indices)
        print(f"record: {published.record}")
        return record.metrics
    with tempfile.TemporaryDirectory() as scratch:
        metrics, _ = runner.evaluator.evaluate(student_sampler(student, indices), Path(scratch), sha256)
    if path != checkpoint:
        _keep_beside(runner, checkpoint, sha256, metrics)
    return metrics


def _keep_beside(runner: Runner, folder: Path, sha256: str, metrics: Sequence[MetricResult]) -> None:
    """Keep a record of a finished run's student under a protocol other than its own: of its task, or of another
    with the same students.

    So, too, of the student in a run's `best` folder, under any protocol: its record says how it was chosen.
    """
    from bench.core.run_folder import RECORD
    from bench.runs.provenance import provenance
    from bench.runs.recording import of_the_best, under_another_protocol
    from bench.runs.records import other_protocol_path, read_record, write_record
    from bench.training.best import read_best

    best = read_best(folder)
    run = folder if best is None else folder.parent
    if not (run / RECORD).is_file():
        return
    record, prepared = read_record(run / RECORD), runner.prepared
    if best is not None:
        record = of_the_best(record, best)
    protocol = prepared.task.protocol
    own = record.checkpoint is not None and record.checkpoint.sha256 == sha256
    another = best is not None or record.protocol_sha256 != protocol.digest()
    if own and another and _same_students(runner.catalogue, record.task, prepared.task):
        target = other_protocol_path(run, protocol.name, protocol.digest(), best is not None)
        write_record(target, under_another_protocol(record, prepared, provenance("fp32"), metrics))
        print(f"record: {target}")


def _same_students(catalogue: Catalogue, trained_on: str, task: Task) -> bool:
    """Whether students of the task `trained_on` are measured by `task`: it is the same, or takes its recipes."""
    if trained_on == task.name:
        return True
    known = catalogue.tasks.entries
    other = catalogue.tasks.get(trained_on) if trained_on in known else None
    return other is not None and (other.recipes or other.name) == (task.recipes or task.name)
