"""`bench tune`: a grid of recipe values on a seed that no result uses, and a record of the best ones."""

from __future__ import annotations

import json
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
    ScaleOption,
    SetOption,
    ThreadsOption,
    TrackOption,
    ValidationsOption,
    refuse_given,
    refuse_scale_alone,
)
from bench.cli.parsing import optional_names, parse_grid, parse_overrides
from bench.cli.terminal import exit_if_detached, print
from bench.core.errors import UserError, listed
from bench.runs.task_sources import pinned_task, sources_of
from bench.training.cadence import VALIDATIONS

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue
    from bench.runs.suites.suite import SuiteScale
    from bench.runs.tuning.plan import TuningPlan
    from bench.runs.tuning.record import Question
    from bench.task.base import Task
    from bench.training.budget import Budget


def tune(
    method: Annotated[
        list[str],
        typer.Option("--method", help="Methods, with commas or repeated.", autocompletion=method_names),
    ] = [],
    task: Annotated[
        str | None,
        typer.Option("--task", help="The task.", autocompletion=task_names, show_default="digits, or the suite's"),
    ] = None,
    grid: Annotated[
        list[str], typer.Option("--grid", help="Values to try, key=value,value; repeatable: all combinations.")
    ] = [],
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="Tune the rows of a suite, by its name or its .toml file, over its own grids.",
            autocompletion=suite_names,
        ),
    ] = None,
    scale: ScaleOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=2**31 - 1, help="The training seed.", show_default="100, or the suite's"
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="What each training may take, passes=N, images=N or generator_updates=N.",
            show_default="the recipe's iterations",
        ),
    ] = None,
    protocol: ProtocolOption = None,
    overrides: SetOption = [],
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
    """Try recipe values on a seed apart, and record the best ones for `bench reproduce`."""
    from bench.jobs.executor import ExecutorOptions
    from bench.jobs.request import PlannedRequest, make_executor
    from bench.jobs.spec import JobSettings, plugin_hashes
    from bench.runs.argv import plugin_options
    from bench.runs.protocols.networks import network_requirements
    from bench.runs.registry import load_catalogue
    from bench.runs.suites.reading import load_suite
    from bench.runs.tuning.plan import TuningPlan
    from bench.runs.tuning.record import answer_to
    from bench.training.trackers import require_trackers

    trackers = optional_names(track, "--track")
    require_trackers(trackers)
    methods = optional_names(method)
    catalogue = load_catalogue(plugin)
    part: SuiteScale | None = None
    if suite is not None:
        given = {"--grid": grid, "--set": overrides, "--seed": seed, "--budget": budget}
        refuse_given(given, "does not go with --suite, whose file says it; fix: leave out one of the two")
        part = load_suite(suite).chosen(scale or "micro", task, protocol, methods)
        part = replace(part, plugins=tuple(plugin))
        questions = _of_suite(catalogue, part)
    else:
        refuse_scale_alone(scale, suite)
        questions = _of_methods(catalogue, methods, task, protocol, grid, overrides, seed, budget)
    first = questions[0]
    on = pinned_task(catalogue, first.task, cache, first.protocol)
    plans = [TuningPlan.of(question, catalogue, on, runs) for question in questions]
    for question in questions:
        answer_to(question, [runs])  # a file that could not be replaced is named now, not after the trainings
    where = sources_of(on, cache, data, download)
    settings = JobSettings(
        runs, where, threads, plugin_hashes(catalogue.plugins), trackers, validations=validations
    )
    workers = make_executor(catalogue, executor, settings, ExecutorOptions(jobs, processes, profile, detach))
    networks = network_requirements(on, catalogue, where.cache)
    request = PlannedRequest(on, [run for plan in plans for run in plan.runs], [], settings, workers, networks)
    if dry_run:
        for line in (*request.lines(), "", *(line for plan in plans for line in plan.lines())):
            print(line)
        return
    for plan in plans:
        plan.begin()
    with exit_if_detached():
        request.execute()
    under = f" --protocol {protocol}" if protocol else ""
    _write(plans, under + plugin_options(plugin))
    if part is not None:
        rows = f" --method {','.join(methods)}" if methods else ""
        print(f"next: bench reproduce {part.called}{rows}{under}")


def _write(plans: Sequence[TuningPlan], more: str) -> None:
    """Write and print the records of all tunings; `more` are options of the commands that are printed with them.

    Raises UserError, after all others are written, with those that could not be.
    """
    from bench.runs.tuning.plan import tuning_lines

    problems = []
    for plan in plans:
        print(f"{plan.title}, best by {plan.metric}")
        try:
            for line in tuning_lines(plan.write(), plan, more):
                print(line)
        except (UserError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def _of_suite(catalogue: Catalogue, part: SuiteScale) -> list[Question]:
    """Return a question for each row of a suite that has a grid. Raises UserError if there is none."""
    from bench.runs.suites.settled import question_of, require_rows

    require_rows(part, catalogue)
    on = catalogue.tasks.get(part.trained_on or part.task)
    questions = [question_of(row, part, catalogue, on) for row in part.rows if row.tune]
    if not questions:
        which = listed((row.method for row in part.rows), 20)
        raise UserError(
            f"the rows of {which} of suite {part.suite} have nothing to tune; "
            "fix: bench tune --method NAME --grid KEY=A,B"
        )
    return questions


def _of_methods(
    catalogue: Catalogue,
    methods: Sequence[str],
    task: str | None,
    protocol: str | None,
    grid: Sequence[str],
    overrides: Sequence[str],
    seed: int | None,
    budget: str | None,
) -> list[Question]:
    """Return a question for each method, all with the same grid."""
    from bench.runs.protocols.derived import under_protocol
    from bench.runs.tuning.record import TUNING_SEED, Question

    if not methods:
        raise UserError(
            "bench tune takes methods or a suite; fix: --method NAME --grid lr=3e-4,1e-3, or --suite NAME"
        )
    values, fixed = parse_grid(grid), parse_overrides(overrides)
    if not values:
        raise UserError("there is nothing to tune; fix: --grid lr=3e-4,1e-3, repeatable")
    if both := values.keys() & fixed.keys():
        raise UserError(f"{min(both)} is in --set and in --grid; fix: give it once")
    allowed = _budget(budget) if budget is not None else None
    if allowed is not None and "iterations" in values.keys() | fixed.keys():
        raise UserError(
            f"iterations contradict --budget {budget}, which fixes them; fix: leave out one of the two"
        )
    on: Task = catalogue.tasks.get(task or "digits")
    on = under_protocol(on, protocol or on.protocol.name, catalogue)
    given = (values, fixed, TUNING_SEED if seed is None else seed, allowed)
    return [Question(method, on.name, on.protocol.name, *given).of(catalogue, on) for method in methods]


def _budget(text: str) -> Budget:
    """Read `passes=600000`. Raises UserError."""
    from bench.training.budget import Budget

    unit, _, amount = text.partition("=")
    try:
        return Budget.of({unit.strip(): json.loads(amount.replace("_", "") or "null")})
    except (ValueError, RecursionError) as error:
        reason = "" if isinstance(error, json.JSONDecodeError | RecursionError) else f": {error}"
        raise UserError(
            f"--budget takes passes=N, images=N or generator_updates=N, not {text[:60]!r}{reason}; "
            "fix: write it as --budget passes=600000"
        ) from None
