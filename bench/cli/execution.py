"""Doing what was planned: workers side by side, and what is said when they are through."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import cores
from tasks.errors import UserError

if TYPE_CHECKING:
    from bench.plan import BaselineRun, Run
    from bench.pool import Job
    from bench.registry import Catalogue
    from tasks.task import Sources, Task


@dataclass(frozen=True)
class Workers:
    """How the machine is shared."""

    catalogue: Catalogue
    where: Sources
    root: Path
    """Folder of the runs."""
    jobs: int | None = None
    """Runs side by side; None: what cores or GPUs allow."""
    processes: int = 1
    """Of each run."""
    threads: int = 1
    """Of each process."""

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> None:
        """Do what is not done yet; no run that fails, or lacks weights, takes another with it."""
        from bench.pool import Job

        for run in planned:
            if run.finished() is not None:
                print(f"{run.label}: finished before, {run.folder}", file=sys.stderr)
        work: list[Job] = []
        tasks: dict[str, Task] = {}
        for run in planned:
            if run.finished() is None:
                work.append(Job(run.label, (*run_arguments(run), *self.arguments()), run.folder))
                tasks[run.task.name] = run.task
        for baseline in baselines:
            if baseline.finished() is None and not self._lacks_weights(baseline):
                arguments = (*eval_arguments(baseline), *self.arguments())
                work.append(Job(baseline.label, arguments, baseline.folder))
                tasks[baseline.task.name] = baseline.task
        self.do(work, list(tasks.values()))

    def do(self, work: Sequence[Job], tasks: Sequence[Task]) -> None:
        """Prepare the tasks, and do the jobs side by side."""
        if not work:
            return
        import torch
        from rich.console import Console

        from bench.pool import Share, run_jobs
        from bench.progress import StatusProgress

        console = Console(stderr=True)
        torch.set_num_threads(self.threads)
        _writable(self.root, self.where.cache)
        for task in tasks:
            task.prepare(self.where, StatusProgress(None, console, draw=True))
        share = Share(self.threads, self.processes, torch.cuda.device_count())
        if share.gpus and self.processes > share.gpus:
            raise UserError(f"--processes {self.processes} take a GPU each, and there are {share.gpus} here")
        fitting = (share.gpus or cores() // self.threads) // self.processes
        outcomes = run_jobs(work, min(self.jobs or max(1, fitting), len(work)), share, console)
        for outcome in outcomes:
            if outcome.code != 0:
                log = outcome.job.folder / "log.txt"
                console.print(f"failed: {outcome.job.label}, log: {log}", highlight=False)

    def arguments(self) -> list[str]:
        """What every worker is told."""
        arguments = ["--runs", str(self.root), "--cache", str(self.where.cache)]
        if self.where.data is not None:
            arguments += ["--data", str(self.where.data)]
        if self.where.download:
            arguments.append("--download")
        for plugin in self.catalogue.plugins:
            arguments += ["--plugin", str(plugin)]
        return arguments

    def _lacks_weights(self, baseline: BaselineRun) -> bool:
        """Say whether weights that a baseline has of its own are missing, and may not be downloaded."""
        missing = [need for need in baseline.task.baseline_needs(baseline.baseline) if need.path is None]
        if not missing or self.where.download:
            return False
        for need in missing:
            print(f"{baseline.label}: left out, no {need.what} here; {need.mend}", file=sys.stderr)
        return True


def _writable(*folders: Path) -> None:
    """Make the folders now, so that a wrong path is found before hours of work. Raises UserError."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def raise_failures(planned: Sequence[Run]) -> None:
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


def run_arguments(run: Run) -> list[str]:
    """The command that trains a run, as its worker gets it."""
    import json

    chosen = ["--method", run.method.name, *_under(run.task), "--seed", str(run.seed)]
    values = [part for key, value in run.passed.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["run", "--worker", *chosen, *values]


def eval_arguments(run: BaselineRun) -> list[str]:
    """The command that evaluates a baseline, as its worker gets it."""
    return ["eval", "--worker", *_under(run.task), "--sampler", run.baseline.name]


def checkpoint_arguments(task: Task, checkpoint: Path, steps: int | None = None) -> list[str]:
    """The command that evaluates a saved student, as its worker gets it."""
    chosen = [] if steps is None else ["--steps", str(steps)]
    return ["eval", "--worker", *_under(task), "--checkpoint", str(checkpoint), *chosen]


def _under(task: Task) -> list[str]:
    return ["--task", task.name, "--protocol", task.protocol.name]
