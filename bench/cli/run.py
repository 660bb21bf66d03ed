"""`bench run` and `bench reproduce`: plan, prepare, train, evaluate, record, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProcessesOption,
    ProtocolOption,
    RunsOption,
    ThreadsOption,
    cores,
    declared_task,
    parse_names,
    parse_overrides,
    parse_seeds,
    sources,
)
from tasks.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.plan import BaselineRun, Planned, Run
    from bench.registry import Catalogue
    from tasks.task import Sources, Task

SetOption = Annotated[list[str], typer.Option("--set", help="Override a recipe value, key=value; repeatable.")]
SeedOption = Annotated[str, typer.Option("--seed", help="Training seeds, with commas.")]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Runs side by side; default: what cores or GPUs allow.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
NoBaselinesOption = Annotated[bool, typer.Option("--no-baselines", help="Leave out the teacher's samplers.")]
WorkerOption = Annotated[bool, typer.Option("--worker", hidden=True)]
OnlyTrainOption = Annotated[bool, typer.Option("--only-train", hidden=True)]
RunIdOption = Annotated[str | None, typer.Option("--run-id", hidden=True)]

PATIENCE = 900.0
"""Seconds for which a job waits that finds its run's folder held: a node that the queue has given up on may work
there still."""


def run(
    method: Annotated[list[str], typer.Option("--method", help="Methods, with commas or repeated.")] = ["dmd2"],
    task: Annotated[str, typer.Option("--task", help="The task.")] = "digits",
    protocol: ProtocolOption = None,
    seed: SeedOption = "0",
    overrides: SetOption = [],
    dry_run: DryRunOption = False,
    no_baselines: NoBaselinesOption = False,
    jobs: JobsOption = None,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = 1,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
    worker: WorkerOption = False,
    only_train: OnlyTrainOption = False,
    run_id: RunIdOption = None,
) -> None:
    """Train, evaluate and record methods on a task. The same command again returns or resumes."""
    from bench.plan import BaselineRun, plan_run, refuse_idle_overrides
    from bench.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    declared = declared_task(catalogue, task, cache, protocol)
    values = parse_overrides(overrides)
    planned = [
        plan_run(catalogue, name, declared, values, one, runs)
        for name in parse_names(method)
        for one in parse_seeds(seed)
    ]
    where = sources(declared, cache, data, download)
    if worker:
        refuse_another_plan(planned[0], run_id)
        _work(catalogue, planned[0], where, threads, only_train)
        return
    refuse_idle_overrides(planned)
    baselines = [] if no_baselines else [BaselineRun(declared, runs, b) for b in declared.baselines.values()]
    if dry_run:
        _show_plan(planned, baselines, where)
        return
    _execute(catalogue, planned, baselines, where, jobs, processes, threads)
    _show_results(declared, planned, baselines)


def reproduce(
    suite: Annotated[str, typer.Argument(help="The suite, such as table3.")],
    scale: Annotated[str, typer.Option("--scale", help="micro or paper.")] = "micro",
    task: Annotated[str | None, typer.Option("--task", help="Another task than the suite's own.")] = None,
    protocol: ProtocolOption = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Training seeds; default: the suite's.")] = None,
    overrides: SetOption = [],
    dry_run: DryRunOption = False,
    jobs: JobsOption = None,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = 1,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Run all rows of a suite, side by side, and print its table with the paper's values."""
    from bench.plan import BaselineRun, plan_run, refuse_idle_overrides
    from bench.registry import load_catalogue
    from bench.suites import load_suite

    chosen = load_suite(suite)
    catalogue = load_catalogue(plugin)
    own_task = chosen.task(scale)
    declared = declared_task(catalogue, task or own_task, cache, protocol)
    values = parse_overrides(overrides)
    seeds = parse_seeds(seed) if seed else list(chosen.seeds)
    planned = [
        plan_run(catalogue, row.method, declared, values, one, runs) for one in seeds for row in chosen.rows
    ]
    for name in chosen.baselines:
        if name not in declared.baselines:
            raise unknown(f"sampler of task {declared.name!r}:", name, declared.baselines)
    baselines = [BaselineRun(declared, runs, declared.baselines[name]) for name in chosen.baselines]
    refuse_idle_overrides(planned)
    where = sources(declared, cache, data, download)
    if dry_run:
        _show_plan(planned, baselines, where)
        return
    _execute(catalogue, planned, baselines, where, jobs, processes, threads)
    from bench.records import load_records
    from bench.report.render import to_markdown
    from bench.report.table import suite_table
    from bench.suites import load_paper_table

    found = load_records([*(one.folder for one in planned), *(one.folder for one in baselines)])
    paper = load_paper_table(chosen.paper) if chosen.paper else None
    print(to_markdown(suite_table(chosen, paper, found.records, scale, declared.name)))
    _raise_failures(planned)


def refuse_another_plan(run: Planned, run_id: str | None) -> None:
    """Raise UserError if what a job was submitted for would now be another computation."""
    if run_id not in (None, run.id):
        raise UserError(
            f"this job was submitted for {run_id}, and what was chosen for task {run.task.name!r} has changed "
            f"since: it would now be {run.id}; submit again"
        )


def _work(catalogue: Catalogue, run: Run, where: Sources, threads: int, only_train: bool) -> None:
    """What a worker process does: one run, its progress in status.json and the log."""
    import torch

    from bench.distributed import join_workers
    from bench.runner import Runner
    from bench.stopping import listening

    torch.set_num_threads(threads)
    progress = join_workers(run.folder)
    with listening() as stop:
        prepared = run.task.prepare(where, progress)
        patience = PATIENCE if "SLURM_JOB_ID" in os.environ else 0
        runner = Runner(catalogue, prepared, progress, stop, patience)
        record = runner.train(run) if only_train else runner.run(run)
    if record is not None and record.error is not None:
        print(record.error.traceback)
        raise UserError(f"{run.label} failed: {record.error.type}: {record.error.message}")


def _execute(
    catalogue: Catalogue,
    planned: Sequence[Run],
    baselines: Sequence[BaselineRun],
    where: Sources,
    jobs: int | None,
    processes: int,
    threads: int,
) -> None:
    """Do what is not done yet; a failing run takes no other with it."""
    import torch
    from rich.console import Console

    from bench.pool import Share, run_jobs
    from bench.progress import StatusProgress
    from bench.typed import typed_command
    from bench.work import LOG, Work

    console = Console(stderr=True)
    todo = [run for run in planned if run.finished() is None]
    todo_baselines = [run for run in baselines if run.finished() is None]
    for run in planned:
        if run not in todo:
            console.print(f"{run.label}: finished before, {run.folder}", highlight=False)
    if todo or todo_baselines:
        torch.set_num_threads(threads)
        _writable(planned[0].root, where.cache)
        task = planned[0].task
        task.prepare(where, StatusProgress(None, console, draw=True))
        common = [*_common_arguments(catalogue, where, planned[0].root), "--threads", str(threads)]
        typed = tuple(typed_command())

        def work_of(run: Run | BaselineRun, arguments: list[str]) -> Work:
            return Work(run.label, "run", (*arguments, *common), run.folder.absolute(), typed)

        work = [work_of(run, _run_arguments(run)) for run in todo]
        work += [work_of(run, _eval_arguments(run)) for run in todo_baselines]
        share = Share(threads, processes, torch.cuda.device_count())
        if share.gpus and processes > share.gpus:
            raise UserError(f"--processes {processes} take a GPU each, and there are {share.gpus} here")
        fitting = (share.gpus or cores() // threads) // processes
        outcomes = run_jobs(work, min(jobs or max(1, fitting), len(work)), share, console)
        for outcome in outcomes:
            if not outcome.done:
                console.print(f"failed: {outcome.work.label}, log: {outcome.work.folder / LOG}", highlight=False)


def _writable(*folders: Path) -> None:
    """Make the folders now, so that a wrong path is found before hours of work. Raises UserError."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def _raise_failures(planned: Sequence[Run]) -> None:
    """Raise UserError if a run has no result: the exit code tells whether all went well."""
    bad = []
    for run in planned:
        record = run.finished()
        if record is None or record.error is not None:
            bad.append(run.label)
    if bad:
        raise UserError(
            f"{len(bad)} of {len(planned)} runs failed: {'; '.join(bad)}; see log.txt in their folders"
        )


def _common_arguments(catalogue: Catalogue, where: Sources, root: Path) -> list[str]:
    arguments = ["--runs", str(root), "--cache", str(where.cache)]
    if where.data is not None:
        arguments += ["--data", str(where.data)]
    for plugin in catalogue.plugins:
        arguments += ["--plugin", str(plugin)]
    return arguments


def _run_arguments(run: Run) -> list[str]:
    import json

    arguments = [
        "run",
        "--worker",
        "--method",
        run.method.name,
        "--task",
        run.task.name,
        "--protocol",
        run.task.protocol.name,
        "--seed",
        str(run.seed),
    ]
    for key, value in run.passed.items():
        arguments += ["--set", f"{key}={json.dumps(value)}"]
    return arguments


def _eval_arguments(run: BaselineRun) -> list[str]:
    chosen = ["--task", run.task.name, "--protocol", run.task.protocol.name, "--sampler", run.baseline.name]
    return ["eval", "--worker", *chosen]


def _show_plan(planned: Sequence[Run], baselines: Sequence[BaselineRun], where: Sources) -> None:
    """Print what would be done: runs, what is finished, costs, what is missing."""
    task = planned[0].task
    for need in task.needs(where):
        print(f"{need.role:<10}{need.path or f'missing: {need.mend}'}")
    print()
    for run in planned:
        recipe: dict[str, Any] = run.recipe.model_dump()
        done = run.checkpointed()
        state = "finished" if run.finished() else f"from iteration {done}" if done else "new"
        images = recipe["iterations"] * recipe["batch_size"]
        print(f"{run.id:<44}{recipe['iterations']:>8} iterations {images:>10} images   {state}")
    for baseline in baselines:
        state = "finished" if baseline.finished() else "new"
        images = task.protocol.samples * task.protocol.repetitions
        evaluations = images * baseline.baseline.network_evaluations
        print(f"{baseline.id:<44}{evaluations:>8} network evaluations                {state}")


def _show_results(task: Task, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
    """Print the table of these runs and where their pictures are."""
    from bench.records import load_records
    from bench.report.render import to_markdown
    from bench.report.table import task_table

    found = load_records([*(run.folder for run in planned), *(run.folder for run in baselines)])
    print(to_markdown(task_table(found.records, task.name)))
    for run in planned:
        picture = run.folder / "samples.png"
        if picture.exists():
            print(f"samples of {run.label}: {picture}")
    _raise_failures(planned)
