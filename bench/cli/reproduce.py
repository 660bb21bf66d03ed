"""`bench reproduce`: all runs of a suite, and its table with the paper's values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import method_names, suite_names, task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DetachOption,
    DownloadOption,
    DryRunOption,
    ExecutorOption,
    JobsOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    ProtocolOption,
    RunsOption,
    SetOption,
    ThreadsOption,
    TrackOption,
    ValidationsOption,
)
from bench.cli.parsing import optional_names, parse_overrides, parse_seeds
from bench.cli.terminal import exit_if_detached, print, print_tables
from bench.runs.task_sources import pinned_task, sources_of
from bench.training.cadence import VALIDATIONS

if TYPE_CHECKING:
    from bench.runs.plan import Run
    from bench.runs.suites.plan import SuitePlan
    from bench.runs.suites.suite import Suite


def reproduce(
    suite: Annotated[
        str,
        typer.Argument(
            help="The suite, such as table3, or the .toml file of your own.", autocompletion=suite_names
        ),
    ],
    scale: Annotated[str, typer.Option("--scale", help="micro or paper.")] = "micro",
    task: Annotated[
        str | None, typer.Option("--task", help="Another task than the suite's own.", autocompletion=task_names)
    ] = None,
    method: Annotated[
        list[str],
        typer.Option(
            "--method",
            help="The rows of these methods alone, with commas or repeated.",
            autocompletion=method_names,
        ),
    ] = [],
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
    executor: ExecutorOption = "local",
    profile: ProfileOption = None,
    detach: DetachOption = False,
    threads: ThreadsOption = 1,
    track: TrackOption = [],
    validations: ValidationsOption = VALIDATIONS,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Run all rows of a suite, side by side, and print its table with the paper's values."""
    from bench.jobs.executor import ExecutorOptions
    from bench.jobs.request import make_executor, raise_failures
    from bench.jobs.spec import JobSettings, plugin_hashes
    from bench.jobs.suite import PlannedSuite
    from bench.report.lines import suite_lines
    from bench.runs.planning import refuse_idle_overrides
    from bench.runs.protocols.networks import network_requirements
    from bench.runs.registry import load_catalogue
    from bench.runs.suites.plan import SuitePlan
    from bench.runs.suites.reading import load_suite
    from bench.runs.suites.settled import require_rows, settled
    from bench.training.trackers import require_trackers

    trackers = optional_names(track, "--track")
    require_trackers(trackers)
    chosen = load_suite(suite)
    part = chosen.chosen(scale, task, protocol, optional_names(method))
    if seed is not None:
        part = replace(part, seeds=tuple(parse_seeds(seed)))

    catalogue = load_catalogue(plugin)
    measured_by = pinned_task(catalogue, part.task, cache, part.protocol)
    trained_on = pinned_task(catalogue, part.trained_on, cache) if part.trained_on else measured_by
    values = parse_overrides(overrides)
    part = settled(part, catalogue, runs, values)
    require_rows(part, catalogue)
    suite_lines(part, chosen.paper_table())  # only to find an unknown table or row of the paper now
    plan = SuitePlan(catalogue, part, measured_by, trained_on, values, runs)
    first, baselines = plan.first(), plan.baselines()
    plan.later()  # only to find a bad recipe now
    refuse_idle_overrides(first, values)
    where = sources_of(measured_by, cache, data, download)
    found = plan.published(published) if published is not None else []
    settings = JobSettings(
        runs, where, threads, plugin_hashes(catalogue.plugins), trackers, validations=validations
    )
    workers = make_executor(catalogue, executor, settings, ExecutorOptions(jobs, processes, profile, detach))
    networks = network_requirements(measured_by, catalogue, where.cache)
    planned = PlannedSuite(measured_by, first, baselines, settings, workers, networks, plan, found)
    if dry_run:
        for line in planned.lines():
            print(line)
        return
    with exit_if_detached():
        wanted = planned.execute()
    _print_table(plan, chosen, planned.trained())
    for line in planned.tracker_lines():
        print(line)
    raise_failures(wanted, planned.not_measured())


def _print_table(plan: SuitePlan, suite: Suite, runs: Sequence[Run]) -> None:
    """Print the suite's table, of these runs alone, and draw a figure of what has no printed values."""
    from bench.jobs.run_states import state_lookup
    from bench.report.figures import progress_figure, suite_logs
    from bench.report.sides import Found
    from bench.report.table import suite_table
    from bench.report.todo import pending_of
    from bench.runs.records import load_records

    part, task = plan.scale, plan.task.name
    folders = [run.folder for run in runs] + [run.folder for run in plan.baselines()]
    for student in part.published:
        folders += (plan.root / task).glob(f"{student.checkpoint}-*")
    loaded = load_records(folders)
    records = loaded.records
    paper, pending = suite.paper_table(), pending_of(part, plan.root, state_lookup(plan.root))
    print_tables([suite_table(suite, paper, records, part, pending)])
    logs = suite_logs(part, map(Found, records, loaded.paths)) if paper is None else {}
    if logs:
        figure = plan.root / f"{suite.name}-{part.name}.png"
        for problem in progress_figure(logs, figure, suite.curves):
            print(f"warning: {problem}", file=sys.stderr)
        print(f"figure: {figure}")
