"""The executor of this machine: it prepares the tasks, and does the runs side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import UserError, listed
from bench.core.files import make_folder
from bench.core.machine import cores
from bench.core.run_folder import LOG, runs_option
from bench.jobs.executor import Executor, ExecutorOptions, left_out, say
from bench.jobs.run_states import state_lookup
from bench.runs.states.lock import UnderWayError, is_locked

if TYPE_CHECKING:
    from bench.jobs.spec import JobSettings, JobSpec
    from bench.runs.plan import BaselineRun, Run
    from bench.task.base import Task

ENDING_SECONDS = 5.0
"""Seconds for which a run may still be locked by a command that is about to end."""


@dataclass(frozen=True)
class LocalExecutor(Executor):
    """Processes of this machine, forked from one that has imported what they use."""

    settings: JobSettings
    options: ExecutorOptions

    name: ClassVar[str] = "local"
    summary: ClassVar[str] = "processes of this machine, side by side"

    @classmethod
    def create(cls, settings: JobSettings, options: ExecutorOptions) -> LocalExecutor:
        """Return an executor. Raises UserError for options of clusters."""
        if options.profile is not None or options.detach:
            raise UserError("--profile and --detach go with --executor slurm; fix: add it, or leave them out")
        return cls(settings, options)

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Do what is not done yet; no run that fails, or whose weights are missing, takes another with it.

        Return all that is to have a result. Raises UserError if one waits in a queue, to be done there.
        """
        done: list[Run | BaselineRun] = []
        todo: list[Run | BaselineRun] = []
        for run in planned:
            if run.finished() is None:
                todo.append(run)
            else:
                done.append(run)
                say(f"{run.label}: finished before, {run.folder}")
        for one in baselines:
            if one.finished() is not None:
                done.append(one)
            elif reasons := left_out(one, self.settings.sources):
                say("\n".join(reasons))
            else:
                todo.append(one)
        refuse_under_way(todo, self.settings.runs)
        tasks = {one.task.name: one.task for one in todo}
        self._do([self.settings.run(one) for one in todo], list(tasks.values()))
        return done + todo

    def evaluate(self, specs: Sequence[JobSpec], task: Task) -> None:
        """Do evaluations of saved students, side by side."""
        self._do(specs, [task])

    def _do(self, specs: Sequence[JobSpec], tasks: Sequence[Task]) -> None:
        """Prepare the tasks, and do the jobs side by side."""
        if not specs:
            return
        from rich.console import Console

        from bench.core.escape import rich_text
        from bench.jobs.forkserver import fork_server
        from bench.jobs.local_jobs import Share, chosen_gpus, run_jobs

        console, settings = Console(stderr=True), self.settings
        for folder in (settings.runs, settings.sources.cache):
            make_folder(folder)  # now, so that a wrong path is found before hours of work
        modules = sorted({name for task in tasks for name in task.modules})
        with fork_server(settings.threads, modules) as server:
            for task in tasks:
                server.call("bench.jobs.start:prepare", settings.preparation(task, 0, Path()).content)
            gpus = server.call("bench.jobs.start:gpu_count")
            share = Share(settings.threads, self.options.processes, gpus, chosen_gpus()[:gpus])
            processes = share.processes
            if gpus and processes > gpus:
                raise UserError(
                    f"--processes {processes} take a GPU each, and there are {gpus} here; fix: --processes {gpus}"
                )
            fitting = max(1, (gpus or cores() // settings.threads) // processes)
            outcomes = run_jobs(specs, min(self.options.jobs or fitting, len(specs)), share, server, console)
        for outcome in outcomes:
            if not outcome.done:
                log = outcome.spec.folder / LOG
                console.print(rich_text(f"failed: {outcome.spec.label}, log: {log}"), soft_wrap=True)


def refuse_under_way(todo: Sequence[Run | BaselineRun], runs: Path) -> None:
    """Raise UserError if a run waits in a queue, or another command works on it: it would be done twice."""
    look, where = state_lookup(runs), runs_option(runs)
    states = [look(one.folder) for one in todo]
    running = [state for state in states if state.state == "running"]
    end = time.monotonic() + ENDING_SECONDS
    while running and time.monotonic() < end:  # what was just killed still has its lock for a moment
        time.sleep(0.2)
        running = [state for state in running if is_locked(state.folder) or look(state.folder).state == "running"]
    if running:
        raise UnderWayError([state.folder for state in running])
    waiting = [state for state in states if state.state in ("queued", "waiting")]
    if waiting:
        first = waiting[0]
        raise UserError(
            f"{listed(state.run for state in waiting)}: in the queue (job {first.job}); "
            f"fix: wait for it: bench wait {first.task}/{first.run}{where}, "
            f"or take it out: bench cancel {first.task}/{first.run}{where}"
        )
