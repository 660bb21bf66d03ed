"""Doing what was planned: workers side by side, and what is said when they are through."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.cli.run_state import standing
from bench.cli.terminal import print
from bench.core.errors import UserError, listed
from bench.core.escape import rich_text
from bench.core.machine import cores
from bench.core.run_folder import LOG
from bench.runs.run_lock import is_held

if TYPE_CHECKING:
    from bench.jobs.commands import Commands
    from bench.jobs.job import Work
    from bench.runs.plan import BaselineRun, Run
    from bench.task.base import Sources, Task


ENDING_SECONDS = 5.0
"""How long a run may still be held by a command that is about to end."""


class Hands(Protocol):
    """What does the work that was planned: workers on this machine, or jobs of a cluster."""

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Do what is not done yet; return all that is to have a result. Raises UserError."""

    def evaluate(self, work: Sequence[Work], task: Task) -> None:
        """Do evaluations of saved students, which a task measures. Raises UserError."""

    def show_jobs(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
        """Print what a plan does not show of how it would be done. Raises UserError."""


@dataclass(frozen=True)
class Workers:
    """Processes of this machine, and how it is shared."""

    commands: Commands
    jobs: int | None = None
    """Runs side by side; None: what cores or GPUs allow."""
    processes: int = 1
    """Of each run."""

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Do what is not done yet; no run that fails, or lacks weights, takes another with it.

        Return all that is to have a result. Raises UserError if one waits in a queue, to be done there.
        """
        done: list[Run | BaselineRun] = []
        todo: list[Run | BaselineRun] = []
        for run in planned:
            if run.finished() is None:
                todo.append(run)
            else:
                done.append(run)
                print(f"{run.label}: finished before, {run.folder}", file=sys.stderr)
        for one in baselines:
            if one.finished() is not None:
                done.append(one)
            elif not lacks_weights(one, self.commands.where):
                todo.append(one)
        _refuse_under_way(todo, self.commands.runs)
        tasks = {one.task.name: one.task for one in todo}
        self._do([self.commands.whole(one) for one in todo], list(tasks.values()))
        return done + todo

    def evaluate(self, work: Sequence[Work], task: Task) -> None:
        """Do evaluations of saved students, side by side."""
        self._do(work, [task])

    def show_jobs(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
        """Nothing to add to the plan: on this machine every run is a job."""

    def _do(self, work: Sequence[Work], tasks: Sequence[Task]) -> None:
        """Prepare the tasks, and do the work side by side."""
        if not work:
            return
        import torch
        from rich.console import Console

        from bench.core.progress_bars import StatusProgress
        from bench.jobs.pool import Share, chosen_gpus, run_jobs

        console, threads, where = Console(stderr=True), self.commands.threads, self.commands.where
        torch.set_num_threads(threads)
        _writable(self.commands.runs, where.cache)
        for task in tasks:
            task.prepare(where, StatusProgress(console))
        gpus = torch.cuda.device_count()
        share = Share(threads, self.processes, gpus, chosen_gpus()[:gpus])
        if share.gpus and self.processes > share.gpus:
            raise UserError(f"--processes {self.processes} take a GPU each, and there are {share.gpus} here")
        fitting = (share.gpus or cores() // threads) // self.processes
        for outcome in run_jobs(work, min(self.jobs or max(1, fitting), len(work)), share, console):
            if not outcome.done:
                log = outcome.work.folder / LOG
                console.print(rich_text(f"failed: {outcome.work.label}, log: {log}"), soft_wrap=True)


def lacks_weights(baseline: BaselineRun, where: Sources) -> bool:
    """Say whether weights that a baseline has of its own are missing, and may not be downloaded."""
    missing = [need for need in baseline.task.baseline_requirements(baseline.baseline) if need.path is None]
    if not missing or where.download:
        return False
    for need in missing:
        print(f"{baseline.label}: left out, no {need.what} here; {need.fix}", file=sys.stderr)
    return True


def _refuse_under_way(todo: Sequence[Run | BaselineRun], runs: Path) -> None:
    """Raise UserError if a run waits in a queue, or another command works on it: it would be done twice."""
    look = standing(runs)
    states = [look(one.folder) for one in todo]
    running = [state for state in states if state.state == "running"]
    end = time.monotonic() + ENDING_SECONDS
    while running and time.monotonic() < end:  # what was just killed still holds its folder for a moment
        time.sleep(0.2)
        running = [state for state in running if is_held(state.folder) or look(state.folder).state == "running"]
    if running:
        raise UserError(
            f"another command works on {listed(f'{state.task}/{state.run}' for state in running)}; "
            f"fix: wait for it: bench wait {running[0].task}/{running[0].run}, then run this again"
        )
    waiting = [state for state in states if state.state in ("queued", "waiting")]
    if waiting:
        first = waiting[0]
        raise UserError(
            f"{listed(state.run for state in waiting)}: in the queue (job {first.job}); wait for it (bench wait), "
            f"or take it out: bench cancel {first.task}/{first.run}"
        )


def _writable(*folders: Path) -> None:
    """Make the folders now, so that a wrong path is found before hours of work. Raises UserError."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def raise_failures(wanted: Sequence[Run | BaselineRun], lacking: Sequence[str] = ()) -> None:
    """Raise UserError if something has no result: the exit code tells whether all went well.

    `lacking` are further evaluations without one.
    """
    bad = []
    for run in wanted:
        record = run.finished()
        if record is None or record.error is not None:
            bad.append(run.label)
    if bad or lacking:
        told = f"{len(bad)} of {len(wanted)} runs failed" if bad else "not measured"
        raise UserError(f"{told}: {'; '.join([*bad, *lacking])}; see {LOG} in their folders")
