"""Doing what was planned on a Slurm cluster: submit, watch, come back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.execution import Hands, Workers, lacks_weights
from bench.cli.terminal import print
from bench.core.errors import UserError, counted

if TYPE_CHECKING:
    from bench.jobs.commands import Commands
    from bench.jobs.job import Work
    from bench.runs.plan import BaselineRun, Run
    from bench.task.base import Task
    from slurm.graph import Batch
    from slurm.launch import Launch
    from slurm.submission import Submission


class Executor(StrEnum):
    """Where jobs run."""

    local = "local"
    slurm = "slurm"


ExecutorOption = Annotated[
    Executor, typer.Option("--executor", help="Where jobs run: this machine, or a cluster.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="The cluster's profile: a name of bench slurm profiles, or a file.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Return once jobs are in the queue; the same command later shows results.")
]


@dataclass(frozen=True)
class OnCluster:
    """Jobs of a Slurm cluster, in the place of workers on this machine."""

    commands: Commands
    profile: str
    detach: bool

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Submit what is neither done nor in the queue, and wait for all, which is returned. Raises UserError."""
        from slurm.launch import launch, plan_launch

        every: list[Run | BaselineRun] = [*planned, *self._ready(baselines)]
        wanted = [one for one in every if one.finished() is None]
        if wanted:
            _show(
                launch(self.commands.runs, partial(plan_launch, wanted, self.commands, self.profile)),
                self.commands.runs,
            )
            self._see_through([one.folder for one in wanted])
        return every

    def show_jobs(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
        """Print what would be submitted, also where there is no Slurm. Raises UserError."""
        from slurm.launch import plan_launch

        _show_launch(plan_launch([*planned, *self._ready(baselines)], self.commands, self.profile, dry=True))

    def _ready(self, baselines: Sequence[BaselineRun]) -> list[BaselineRun]:
        """Those that can be evaluated; why the others cannot is said."""
        return [one for one in baselines if one.finished() or not lacks_weights(one, self.commands.where)]

    def evaluate(self, work: Sequence[Work], task: Task) -> None:
        """Submit evaluations of saved students, and wait for them. Raises UserError."""
        from slurm.launch import launch, plan_evaluations

        if work:
            plan = partial(plan_evaluations, work, task, self.commands, self.profile)
            _show(launch(self.commands.runs, plan), self.commands.runs)
            self._see_through([one.folder for one in work])

    def _see_through(self, folders: Sequence[Path]) -> None:
        """Show how jobs go until they are over; Ctrl-C leaves them to themselves."""
        from bench.cli.cluster import follow, under_way

        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
        back = (
            "bench status shows how they go, bench cancel --all ends them; this command again submits what comes "
            "after them, if anything does, and shows results"
        )
        if self.detach and under_way(self.commands.runs, names):
            print(f"in the queue; {back}", file=sys.stderr)
            raise typer.Exit
        try:
            follow(self.commands.runs, names)
        except KeyboardInterrupt:
            print(f"\nthe jobs go on; {back}", file=sys.stderr)
            raise typer.Exit(130) from None


def hands(
    executor: Executor, profile: str | None, detach: bool, commands: Commands, jobs: int | None, processes: int
) -> Hands:
    """Return what does the work. Raises UserError for options that do not go together."""
    if executor is Executor.local:
        if profile is not None or detach:
            raise UserError("--profile and --detach go with --executor slurm")
        return Workers(commands, jobs, processes)
    if profile is None:
        raise UserError("--executor slurm needs --profile NAME; fix: bench slurm profiles lists them")
    from slurm.profile import load_profile

    load_profile(profile)  # before anything else is looked at
    if jobs is not None or processes != 1:
        raise UserError("--jobs and --processes are for this machine; on a cluster the profile says how many")
    return OnCluster(commands, profile, detach)


def _show(made: Submission, runs: Path) -> None:
    """Say which jobs are in the queue now, and how many runs wait for room in it."""
    from slurm.later import waiting_runs

    _tell_overridden()
    for batch in made.graph:
        print(f"{batch.name}: job {made.jobs[batch.name]}, {counted(len(batch.works), 'job')}", file=sys.stderr)
    if waiting := len(waiting_runs(runs)):
        told = f"Slurm takes no more of your jobs for now: {counted(waiting, 'run')} will be submitted as jobs end"
        print(told, file=sys.stderr)


def _tell_overridden() -> None:
    """Say which settings of this shell would have overridden the profile, and have not."""
    from slurm.environment import overridden

    if names := overridden():
        told = f"{', '.join(names)}: not used, since the profile says what jobs ask for"
        print(f"{told}; fix: set it in the profile, under [sbatch]", file=sys.stderr)


def _show_launch(launch: Launch) -> None:
    """Print what would be submitted: the graph, each batch's resources and cost, and what sbatch would get."""
    from slurm.submission import sbatch_text

    graph = launch.submission.graph
    _tell_overridden()
    if launch.unasked:
        print(f"\nplanned without a cluster, as if its queue were empty: {launch.unasked}")
    if not graph:
        print("\nnothing to submit: all is finished or in the queue")
        return
    sizes = f"{'jobs':>6}{'nodes':>7}{'GPUs':>6}{'CPUs':>6}{'GB':>7}{'hours':>7}{'at most':>17}"
    print(f"\n{'batch':<28}{sizes}  after")
    for batch in graph:
        asked = batch.resources
        sizes = f"{asked.nodes:>7}{asked.gpus:>6}{asked.cpus:>6}{asked.memory_gb:>7g}{asked.hours:>7g}"
        after = "" if batch.after is None else f"{'its own of ' * batch.each}{batch.after}"
        print(f"{batch.name:<28}{len(batch.works):>6}{sizes}{_cost([batch]):>17}  {after}")
    total = sum(len(batch.works) for batch in graph)
    print(f"{counted(total, 'job')}, at most {_cost(graph)} without requeues\n")
    for batch in graph:
        print(f"# {batch.name}\n{sbatch_text(launch.submission, batch, launch.profile)}")


def _cost(batches: Iterable[Batch]) -> str:
    """Most that jobs may take: hours of the GPUs of those that have some, of the cores of the others."""
    asked = [(len(batch.works), batch.resources) for batch in batches]
    hours = {
        "GPU-hour": sum(jobs * each.gpu_hours for jobs, each in asked),
        "core-hour": sum(jobs * each.core_hours for jobs, each in asked),
    }
    return " and ".join(counted(count, unit) for unit, count in hours.items() if count)
