"""`bench reproduce`: all runs of a suite, and its table with the paper's values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import suite_names, task_names
from bench.cli.dry_run import require_all, show_plan, state_of
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
    RunsOption,
    SetOption,
    ThreadsOption,
    declared_task,
    parse_overrides,
    parse_seeds,
    sources,
)
from bench.cli.run_state import standing
from bench.cli.terminal import print

if TYPE_CHECKING:
    from bench.jobs.commands import Commands
    from bench.jobs.job import Work
    from bench.runs.pending import Look
    from bench.runs.plan import Run
    from bench.runs.suite_plan import SuitePlan
    from bench.runs.suites import Suite, SuiteStudent


def reproduce(
    suite: Annotated[str, typer.Argument(help="The suite, such as table3.", autocompletion=suite_names)],
    scale: Annotated[str, typer.Option("--scale", help="micro or paper.")] = "micro",
    task: Annotated[
        str | None, typer.Option("--task", help="Another task than the suite's own.", autocompletion=task_names)
    ] = None,
    protocol: ProtocolOption = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Training seeds; default: the suite's.")] = None,
    overrides: SetOption = [],
    published: Annotated[
        Path | None,
        typer.Option("--published", help="Folder with the published students that the suite measures besides."),
    ] = None,
    dry_run: DryRunOption = False,
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
) -> None:
    """Run all rows of a suite, side by side, and print its table with the paper's values."""
    from bench.jobs.commands import Commands
    from bench.runs.plan import refuse_idle_overrides
    from bench.runs.registry import load_catalogue
    from bench.runs.suite_plan import SuitePlan
    from bench.runs.suites import load_suite

    chosen = load_suite(suite)
    part = chosen.scale(scale)
    if task is not None:
        part = part.on(task)
    if seed is not None:
        part = replace(part, seeds=tuple(parse_seeds(seed)))
    part = replace(part, protocol=protocol or part.protocol)

    catalogue = load_catalogue(plugin)
    measured_by = declared_task(catalogue, part.task, cache, part.protocol)
    trained_on = declared_task(catalogue, part.trained_on, cache) if part.trained_on else measured_by
    values = parse_overrides(overrides)
    plan = SuitePlan(catalogue, part, measured_by, trained_on, values, runs)
    first, baselines = plan.first(), plan.baselines()
    plan.later()  # only to find a bad recipe now
    refuse_idle_overrides(first, values)
    where = sources(measured_by, cache, data, download)
    found = plan.published(published) if published is not None else []
    commands = Commands(runs, where, threads, catalogue.plugins)
    workers = hands(executor, profile, detach, commands, jobs, processes)
    if dry_run:
        look = standing(runs)
        show_plan(first, baselines, where, look)
        _show_the_rest(plan, found, look)
        workers.show_jobs(first, baselines)
        return
    require_all([trained_on, measured_by], first, baselines, where)

    wanted = workers.execute(first, baselines)
    workers.evaluate(_published_work(plan, found, commands), measured_by)
    later, _ = plan.later()
    wanted += workers.execute(later, [])
    workers.evaluate(_elsewhere_work(plan, [*first, *later], commands), measured_by)
    _print_table(plan, chosen, first + later)
    lacking = _published_work(plan, found, commands) + _elsewhere_work(plan, [*first, *later], commands)
    raise_failures(wanted, [work.label for work in lacking])


def _show_the_rest(plan: SuitePlan, found: Sequence[tuple[SuiteStudent, Path]], look: Look) -> None:
    """Print the runs that come after others, and the evaluations of students that were not trained here."""
    later, waiting = plan.later()
    for run in later:
        print(f"{run.id:<48}{state_of(run, look)}")
    for one in waiting:
        print(one)
    for run, path in plan.elsewhere([*plan.first(), *later]):
        print(f"{run.id} measured on {plan.task.name}: {'finished' if path.exists() else 'new'}")
    for student, path in found:
        print(f"{path.name}, {student.steps} step(s): {'finished' if plan.is_measured(student, path) else 'new'}")
    for student in plan.scale.published:
        if student not in [one for one, _ in found]:
            print(f"{student.checkpoint}: left out; --published FOLDER measures it ({student.source})")


def _published_work(plan: SuitePlan, found: Sequence[tuple[SuiteStudent, Path]], commands: Commands) -> list[Work]:
    work = []
    for student, path in found:
        if not plan.is_measured(student, path):
            folder = plan.root / plan.task.name / f"published-{path.stem}-{student.steps}"
            work.append(commands.checkpoint(plan.task, path, student.steps, student.label, folder))
    return work


def _elsewhere_work(plan: SuitePlan, runs: Sequence[Run], commands: Commands) -> list[Work]:
    work = []
    for run, path in plan.elsewhere(runs):
        if not path.exists():
            label = f"{run.label}, measured on {plan.task.name}"
            work.append(commands.checkpoint(plan.task, run.folder, None, label, path.with_suffix("")))
    return work


def _print_table(plan: SuitePlan, suite: Suite, runs: Sequence[Run]) -> None:
    """Print the suite's table, of these runs alone, and draw a figure of what has no printed values."""
    from bench.report.figures import progress_figure, suite_logs
    from bench.report.render import to_markdown
    from bench.report.table import suite_table
    from bench.report.todo import work_of
    from bench.runs.records import load_records

    part, task = plan.scale, plan.task.name
    folders = [run.folder for run in runs] + [run.folder for run in plan.baselines()]
    for student in part.published:
        folders += (plan.root / task).glob(f"{student.checkpoint}-*")
    records = load_records(folders).records
    paper = suite.paper_table()
    print(to_markdown(suite_table(suite, paper, records, part, work_of(part, plan.root, standing(plan.root)))))
    logs = suite_logs(part, records, plan.root) if paper is None else {}
    if logs:
        figure = plan.root / f"{suite.name}-{part.name}.png"
        for problem in progress_figure(logs, figure, suite.curves):
            print(f"warning: {problem}", file=sys.stderr)
        print(f"figure: {figure}")
