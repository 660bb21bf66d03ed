"""`bench sweep`: a grid over the settings of one model's samplers, and the point that a rule chooses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import metric_names, sampler_names, task_names
from bench.cli.options import (
    CacheOption,
    DataOption,
    DownloadOption,
    DryRunOption,
    PluginOption,
    ProtocolOption,
    RunsOption,
    StudentStartOption,
    ThreadsOption,
    refuse_given,
)
from bench.cli.parsing import optional_names, parse_names
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.runs.task_sources import pinned_task, sources_of

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue
    from bench.runs.sweeps.plan import SweepPlan
    from bench.runs.sweeps.points import Point
    from bench.runs.sweeps.record import Sweep, SweptMetric
    from bench.task.base import Task


def sweep(
    task: Annotated[
        str, typer.Option("--task", help="The task whose images are made.", autocompletion=task_names)
    ],
    sampler: Annotated[
        list[str],
        typer.Option(
            "--sampler",
            help="The teacher's samplers to vary, with commas or repeated.",
            autocompletion=sampler_names,
            show_default="the task's first",
        ),
    ] = [],
    checkpoint: Annotated[
        list[str],
        typer.Option("--checkpoint", help="Students in place of the teacher, with commas or repeated."),
    ] = [],
    guidance: Annotated[
        str | None, typer.Option("--guidance", help="Scales of guidance: 1,2,4, or FIRST:LAST:STEP, as 1:3:0.5.")
    ] = None,
    steps: Annotated[str | None, typer.Option("--steps", help="Numbers of steps: 4,8,16, or 4:16:4.")] = None,
    solver: Annotated[
        list[str], typer.Option("--solver", help="Solvers of the teacher's equation, with commas or repeated.")
    ] = [],
    churn: Annotated[
        str | None, typer.Option("--churn", help="Churns of EDM's sampler, which adds noise: 0,10,40.")
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(
            "--choose",
            help="The rule of the choice, such as 'lowest fd with recall>=0.5 and evaluations<=16'.",
            show_default="best of the first metric",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also measure the chosen point under the task's own protocol.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Images of each point.", show_default="as many as the protocol's"),
    ] = None,
    repetitions: Annotated[
        int, typer.Option("--repetitions", min=1, help="Repetitions of each point, with other seeds.")
    ] = 1,
    protocol: ProtocolOption = None,
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            help="Measure these alone at the points, with commas or repeated.",
            autocompletion=metric_names,
        ),
    ] = [],
    dry_run: DryRunOption = False,
    student_start: StudentStartOption = None,
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Measure a grid of samplers on seeds of its own, choose a point by a rule, and draw the frontier."""
    from bench.runs.protocols.derived import require_samples, with_selection_seeds
    from bench.runs.registry import load_catalogue
    from bench.runs.sweeps.choice import Rule, parse_rule
    from bench.runs.sweeps.plan import SweepPlan

    catalogue = load_catalogue(plugin)
    reported = pinned_task(catalogue, task, cache, protocol)
    names = optional_names(metric, "--metric")
    measured = pinned_task(catalogue, task, cache, protocol, names) if names else reported
    selecting = with_selection_seeds(measured, samples, repetitions)
    require_samples(selecting.protocol, [catalogue.metrics.get(name) for name in selecting.protocol.metrics])
    metrics = _swept_metrics(catalogue, selecting)
    directions = {one.name: one.direction for one in metrics}
    rule = Rule(metrics[0].direction, metrics[0].name) if choose is None else parse_rule(choose, directions)
    grid = _grid(guidance, steps, solver, churn)
    if checkpoint:
        given = {"--sampler": sampler, "--guidance": guidance, "--solver": solver, "--churn": churn}
        refuse_given(given, "is for samplers of the teacher, not for students; fix: leave it out")
        model, points, grid = _students(selecting, runs, checkpoint, grid, student_start)
    else:
        model, points, grid = _samplers(selecting, runs, sampler, grid, student_start)
    plan = SweepPlan(selecting, reported, model, grid, rule, metrics, points, runs)
    if dry_run:
        for line in plan.lines():
            print(line)
        return
    _execute(plan, catalogue, sources_of(selecting, cache, data, download), threads, report)


def _swept_metrics(catalogue: Catalogue, task: Task) -> list[SweptMetric]:
    """Return the metrics of a task's protocol as its records name them."""
    from bench.metrics.titles import name_of, title_of
    from bench.runs.sweeps.record import SweptMetric

    found = []
    for name in task.protocol.metrics:
        info = catalogue.metrics.get(name)
        network = task.protocol.network(info.extractor)
        title = title_of(info, network)
        found.append(SweptMetric(name=name_of(info, network), title=title, direction=info.direction))
    return found


def _grid(
    guidance: str | None, steps: str | None, solver: Sequence[str], churn: str | None
) -> dict[str, list[Any]]:
    """Read the axes of the grid, the last of which varies fastest."""
    from bench.core.ranges import parse_numbers, parse_whole_numbers

    grid: dict[str, list[Any]] = {}
    if solver:
        grid["solver"] = parse_names(solver, "--solver")
    if churn is not None:
        grid["churn"] = parse_numbers("--churn", churn)
    if steps is not None:
        grid["steps"] = parse_whole_numbers("--steps", steps)
    if guidance is not None:
        grid["guidance"] = parse_numbers("--guidance", guidance)
    return grid


def _samplers(
    task: Task, runs: Path, sampler: Sequence[str], grid: dict[str, list[Any]], start: float | None
) -> tuple[str, Sequence[Point], dict[str, list[Any]]]:
    """Return the name of the model, its points, and the grid with the samplers if there are several."""
    from bench.runs.sweeps.plan import sampler_points

    if start is not None:
        raise UserError("--student-start goes with --checkpoint; fix: leave it out")
    samplers = parse_names(sampler, "--sampler") if sampler else [next(iter(task.baselines))]
    if len(samplers) == 1 and not grid:
        raise UserError(
            "there is nothing to vary; fix: --steps 4,8,16, --guidance 1:3:0.5, --solver, --churn, or two samplers"
        )
    points = sampler_points(task, runs, samplers, grid)
    if len(samplers) == 1:
        return samplers[0], points, grid
    return "teacher", points, {"sampler": samplers, **grid}


def _students(
    task: Task, runs: Path, checkpoint: Sequence[str], grid: dict[str, list[Any]], start: float | None
) -> tuple[str, Sequence[Point], dict[str, list[Any]]]:
    """Return what is sampled, the points of the students, and the grid with their names."""
    from bench.runs.sweeps.points import student_points

    names = parse_names(checkpoint, "--checkpoint")
    points, notes = student_points(task, runs, [Path(name) for name in names], grid.get("steps"), start)
    for line in notes:
        print(f"note: {line}")
    return "students", points, {"checkpoint": names, **grid}


def _execute(plan: SweepPlan, catalogue: Catalogue, where: Any, threads: int, report: bool) -> None:
    """Measure what is missing, write the record, the table and the figures, and say what was chosen."""

    from bench.core.cpu import compute_on_cpu
    from bench.core.stacked_bars import StackedProgress
    from bench.report.sweeps.files import write_files
    from bench.report.sweeps.table import to_lines
    from bench.runs.records import write_model
    from bench.runs.runner import Runner
    from bench.runs.sweeps.plan import choice_lines
    from bench.runs.sweeps.record import read_sweep

    compute_on_cpu(threads)
    progress = StackedProgress()
    for line in plan.header():
        print(line)
    if any(record is None for record in plan.measured()):
        plan = plan.measure(Runner(catalogue, plan.task.prepare(where, progress), progress), progress)
    found: Sweep = plan.answer()
    if report and found.chosen is not None and found.reported is None:
        runner = Runner(catalogue, plan.reported.prepare(where, progress), progress)
        plan.points[found.chosen].on(plan.reported).measure(runner)
        found = plan.answer()
    write_model(plan.path, found, read_sweep)
    for line in (*to_lines(found), "", *choice_lines(found, plan.task.options)):
        print(line)
    for path in (plan.path, *write_files(found, plan.path)):
        print(f"written: {path}")
    if found.chosen is None:
        raise UserError(f"no point meets the rule {found.rule!r}; fix: another --choose, or a wider grid")
