"""`bench run`: plan, prepare, train, evaluate, record, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import method_names, task_names
from bench.cli.dry_run import require_for_recipes, show_plan
from bench.cli.execution import raise_failures
from bench.cli.on_cluster import (
    DetachOption,
    Executor,
    ExecutorOption,
    ProfileOption,
    hands,
)
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    DryRunOption,
    JobsOption,
    PluginOption,
    ProcessesOption,
    ProtocolOption,
    RunIdOption,
    RunsOption,
    SetOption,
    ThreadsOption,
    WorkerOption,
    declared_task,
    parse_names,
    parse_overrides,
    parse_seeds,
    sources,
)
from bench.cli.run_state import standing
from bench.cli.terminal import print
from bench.core.errors import UserError

if TYPE_CHECKING:
    from bench.runs.plan import BaselineRun, Run
    from bench.runs.registry import Catalogue
    from bench.task.base import Sources, Task

SeedOption = Annotated[str, typer.Option("--seed", help="Training seeds, with commas.")]
NoBaselinesOption = Annotated[bool, typer.Option("--no-baselines", help="Leave out the teacher's samplers.")]
OnlyTrainOption = Annotated[bool, typer.Option("--only-train", hidden=True)]

PATIENCE = 900.0
"""Seconds for which a job waits that finds its run's folder held: a node that the queue has given up on may work
there still."""


def run(
    method: Annotated[
        list[str], typer.Option("--method", help="Methods, with commas or repeated.", autocompletion=method_names)
    ] = ["dmd2"],
    task: Annotated[str, typer.Option("--task", help="The task.", autocompletion=task_names)] = "digits",
    protocol: ProtocolOption = None,
    seed: SeedOption = "0",
    overrides: SetOption = [],
    dry_run: DryRunOption = False,
    no_baselines: NoBaselinesOption = False,
    jobs: JobsOption = None,
    processes: ProcessesOption = 1,
    executor: ExecutorOption = Executor.local,
    profile: ProfileOption = None,
    detach: DetachOption = False,
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
    from bench.jobs.commands import Commands
    from bench.runs.plan import BaselineRun, plan_run, refuse_another_plan, refuse_idle_overrides
    from bench.runs.registry import load_catalogue

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
    refuse_idle_overrides(planned, values)
    baselines = [] if no_baselines else [BaselineRun(declared, runs, b) for b in declared.baselines.values()]
    commands = Commands(runs, where, threads, catalogue.plugins)
    workers = hands(executor, profile, detach, commands, jobs, processes)
    if dry_run:
        show_plan(planned, baselines, where, standing(runs))
        workers.show_jobs(planned, baselines)
        return
    if declared.pinned_by_prepare and any(run.finished() is None for run in planned):
        declared.require(where, training=True)  # before a baseline takes its hours
        require_for_recipes(planned)
    wanted = workers.execute(planned, baselines)
    _show_results(declared, planned, baselines)
    raise_failures(wanted)


def _work(catalogue: Catalogue, run: Run, where: Sources, threads: int, only_train: bool) -> None:
    """What a worker process does: one run, its progress in status.json and the log."""
    import torch

    from bench.core.distributed import from_main, join_workers
    from bench.core.stopping import listening
    from bench.runs.runner import Runner

    torch.set_num_threads(threads)
    progress = join_workers(run.folder)
    from_main(run.begin)
    with listening() as stop:
        prepared = run.task.prepare(where, progress)
        patience = PATIENCE if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0
        runner = Runner(catalogue, prepared, progress, stop, patience)
        record = runner.train(run) if only_train else runner.run(run)
    if record is not None and record.error is not None:
        print(record.error.traceback)
        raise UserError(f"{run.label} failed: {record.error.type}: {record.error.message}")


def _show_results(task: Task, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
    """Print the table of these runs and where their pictures are."""
    from bench.core.run_folder import SAMPLES
    from bench.report.render import to_markdown
    from bench.report.table import task_table
    from bench.runs.records import load_records

    found = load_records([*(run.folder for run in planned), *(run.folder for run in baselines)])
    print(to_markdown(task_table(found.records, task.name)))
    for run in planned:
        picture = run.folder / SAMPLES
        if picture.exists():
            print(f"samples of {run.label}: {picture}")
