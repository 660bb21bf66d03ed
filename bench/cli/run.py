"""`bench run`: plan, prepare, train, evaluate, record, show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.dry_run import show_plan
from bench.cli.execution import Workers, raise_failures
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    PluginOption,
    ProcessesOption,
    ProtocolOption,
    RunsOption,
    ThreadsOption,
    declared_task,
    parse_names,
    parse_overrides,
    parse_seeds,
    sources,
)
from tasks.errors import UserError

if TYPE_CHECKING:
    from bench.plan import BaselineRun, Run
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
        _work(catalogue, planned[0], where, threads)
        return
    refuse_idle_overrides(planned, values)
    baselines = [] if no_baselines else [BaselineRun(declared, runs, b) for b in declared.baselines.values()]
    if dry_run:
        show_plan(planned, baselines, where)
        return
    Workers(catalogue, where, runs, jobs, processes, threads).execute(planned, baselines)
    _show_results(declared, planned, baselines)


def _work(catalogue: Catalogue, run: Run, where: Sources, threads: int) -> None:
    """What a worker process does: one run, its progress in status.json and the log."""
    import torch

    from bench.distributed import from_main, join_workers
    from bench.runner import Runner

    torch.set_num_threads(threads)
    progress = join_workers(run.folder)
    from_main(run.begin)
    prepared = run.task.prepare(where, progress)
    record = Runner(catalogue, prepared, progress).run(run)
    if record.error is not None:
        print(record.error.traceback)
        raise UserError(f"{run.label} failed: {record.error.type}: {record.error.message}")


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
    raise_failures(planned)
