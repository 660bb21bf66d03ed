"""Jobs side by side on this machine, through submitit: a bar for each; no failure takes another with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as RichBars
from rich.progress import TaskID
from submitit import AutoExecutor, Job
from submitit.core.utils import environment_variables

from bench.attempts import attempts
from bench.progress import bars, figures_text
from bench.run_folder import JOB, STATUS
from bench.status import read_status
from bench.work import Work
from tasks.escape import printable, rich_text

POLL_SECONDS = 0.5
ENDLESS_MINUTES = 60 * 24 * 365


@dataclass
class _Worker:
    work: Work
    job: Job[None]
    bar: TaskID
    slot: int
    """Its place among those that run side by side."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    work: Work
    done: bool
    told: str
    """What went wrong, if something did."""


@dataclass(frozen=True)
class Share:
    """What each job gets of the machine."""

    threads: int = 1
    """CPU threads of each process."""
    processes: int = 1
    """Processes that work on one job together."""
    gpus: int = 0
    """GPUs of the machine; each process takes one, while there are any."""

    def visible_gpus(self, slot: int) -> dict[str, str]:
        """Environment that shows the job in place `slot` GPUs of its own, while there are enough."""
        first = slot * self.processes if self.gpus > self.processes else 0
        chosen = [(first + i) % self.gpus for i in range(min(self.processes, self.gpus))]
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, chosen))}


def run_jobs(works: Sequence[Work], parallel: int, share: Share, console: Console) -> list[Outcome]:
    """Do all works, at most `parallel` at once, each with its share of the machine; return how each ended.

    On Ctrl-C the jobs are stopped, and the interrupt goes on to the caller.
    """
    waiting, running, ended = list(works), list[_Worker](), list[Outcome]()
    with bars(console) as drawn:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    work = waiting.pop(0)
                    bar = drawn.add_task(printable(work.label), total=None, figures="starting")
                    slot = min(set(range(parallel)) - {worker.slot for worker in running})
                    running.append(_Worker(work, _start(work, slot, share), bar, slot))
                time.sleep(POLL_SECONDS)
                for worker in list(running):
                    _show(worker, drawn)
                    if worker.job.done():
                        running.remove(worker)
                        drawn.remove_task(worker.bar)
                        outcome = _outcome(worker.work)
                        ended.append(outcome)
                        state = "done" if outcome.done else f"failed: {outcome.told}"
                        console.print(rich_text(f"{worker.work.label}: {state}"))
        finally:
            for worker in running:
                worker.job.cancel()
            for worker in running:
                worker.job.wait()
    return ended


def _start(work: Work, slot: int, share: Share) -> Job[None]:
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / STATUS).unlink(missing_ok=True)
    shutil.rmtree(work.folder / JOB, ignore_errors=True)
    executor = AutoExecutor(work.folder / JOB, cluster="local")
    executor.update_parameters(
        timeout_min=ENDLESS_MINUTES,
        tasks_per_node=share.processes,
        gpus_per_node=min(share.processes, share.gpus),
        stderr_to_stdout=True,
    )
    # A folder called `tasks` where the user stands must not hide ours.
    inherited = {"OMP_NUM_THREADS": str(share.threads), "PYTHONSAFEPATH": "1"}
    with environment_variables(**inherited):
        return executor.submit(replace(work, environment=share.visible_gpus(slot)))


def _show(worker: _Worker, drawn: RichBars) -> None:
    """Move a job's bar to where its status file says it is; before it has begun, there is none."""
    status = read_status(worker.work.folder)
    if status is not None:
        drawn.update(
            worker.bar,
            description=printable(f"{worker.work.label}: {status.stage}"),
            total=status.total,
            completed=status.completed,
            figures=figures_text(status.figures),
        )


def _outcome(work: Work) -> Outcome:
    """How a job ended, from what it noted in its folder: submitit's own results are not read."""
    tried = attempts(work.folder)
    if not tried or tried[-1].end is None:
        return Outcome(work, False, f"ended without a word; see {_last_words(work.folder)}")
    shutil.rmtree(work.folder / JOB, ignore_errors=True)
    return Outcome(work, tried[-1].end == "done", tried[-1].told)


def _last_words(folder: Path) -> Path:
    """Where a job that could not even begin may have said why."""
    return next(iter(sorted((folder / JOB).glob("*_0_log.out"))), folder / JOB)
