"""Jobs side by side on this machine, through submitit: a bar for each; no failure takes another with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as RichBars
from rich.progress import TaskID
from submitit import AutoExecutor, Job
from submitit.core.utils import environment_variables

from bench.core.escape import printable, rich_text
from bench.core.files import make_folder
from bench.core.progress_bars import bars, figures_text
from bench.core.run_folder import JOB, STATUS
from bench.core.status import read_status
from bench.jobs.job import Work
from bench.jobs.parent import alive
from bench.runs.attempts import Attempt, attempts
from bench.runs.run_lock import is_held

POLL_SECONDS = 0.5
ENDLESS_MINUTES = 60 * 24 * 365
STOP_SECONDS = 600.0
"""How long jobs that were told to stop may take to finish an iteration and write a checkpoint."""


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
    """GPUs of the machine that this command may use; each process takes one, while there are any."""
    gpu_names: tuple[str, ...] = ()
    """What CUDA calls them, where the user chose among them; else they are numbered."""

    def visible_gpus(self, slot: int) -> dict[str, str]:
        """Environment that shows the job in place `slot` GPUs of its own, while there are enough."""
        first = slot * self.processes if self.gpus > self.processes else 0
        chosen = [(first + i) % self.gpus for i in range(min(self.processes, self.gpus))]
        names = self.gpu_names or tuple(map(str, range(self.gpus)))
        return {"CUDA_VISIBLE_DEVICES": ",".join(names[i] for i in chosen)}


def chosen_gpus() -> tuple[str, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by the user or a queue; nothing if it is not set."""
    return tuple(name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip())


def run_jobs(works: Sequence[Work], parallel: int, share: Share, console: Console) -> list[Outcome]:
    """Do all works, at most `parallel` at once, each with its share of the machine; return how each ended.

    On Ctrl-C the jobs are told to stop, which they do after a checkpoint, and the interrupt goes on to the caller.
    They stop, too, if this process is killed.
    """
    waiting, running, ended = list(works), list[_Worker](), list[Outcome]()
    with alive() as lock, bars(console) as drawn:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    work = waiting.pop(0)
                    bar = drawn.add_task(printable(work.label), total=None, figures="starting")
                    slot = min(set(range(parallel)) - {worker.slot for worker in running})
                    running.append(_Worker(work, _start(replace(work, parent=lock), slot, share), bar, slot))
                time.sleep(POLL_SECONDS)
                for worker in list(running):
                    _show(worker, drawn)
                    if worker.job.done() and not _outlived(worker):
                        running.remove(worker)
                        drawn.remove_task(worker.bar)
                        outcome = _outcome(worker)
                        ended.append(outcome)
                        state = "done" if outcome.done else f"failed: {outcome.told}"
                        console.print(rich_text(f"{worker.work.label}: {state}"))
        finally:
            _stop(running)
    return ended


def _stop(workers: Sequence[_Worker]) -> None:
    """Tell jobs to stop, and wait until they have; a second Ctrl-C leaves them to end by themselves."""
    for worker in workers:
        if not worker.job.done():
            os.kill(int(worker.job.job_id), signal.SIGTERM)  # which submitit's controller passes on
    until = time.monotonic() + STOP_SECONDS
    while any(not worker.job.done() or _outlived(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _start(work: Work, slot: int, share: Share) -> Job[None]:
    make_folder(work.folder)
    if not is_held(work.folder):  # else another command works there, and these are its files
        (work.folder / STATUS).unlink(missing_ok=True)
        shutil.rmtree(work.folder / JOB, ignore_errors=True)
    executor = AutoExecutor(_job_folder(work), cluster="local")
    executor.update_parameters(
        timeout_min=ENDLESS_MINUTES,
        tasks_per_node=share.processes,
        gpus_per_node=min(share.processes, share.gpus),
        stderr_to_stdout=True,
    )
    # A folder called `tasks` where the user stands must not hide ours.
    inherited = {"OMP_NUM_THREADS": str(share.threads), "PYTHONSAFEPATH": "1"}
    # A terminal sends Ctrl-C to all of its processes; the jobs are told by this one, and have time for a
    # checkpoint. Blocked and not ignored, so that a Ctrl-C in this moment is not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment_variables(**inherited):
            return executor.submit(replace(work, environment=share.visible_gpus(slot)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _job_folder(work: Work) -> Path:
    """Where submitit keeps its files of a job: another command may try the same run at the same time."""
    return work.folder / JOB / str(os.getpid())


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


def _attempt(worker: _Worker) -> Attempt | None:
    """What a job noted of itself; another command may have noted its own attempts on the same run."""
    own = [one for one in attempts(worker.work.folder) if one.job == str(worker.job.job_id)]
    return own[-1] if own else None


def _outlived(worker: _Worker) -> bool:
    """Whether a job still works although submitit's controller is gone; it ends soon (bench.jobs.parent)."""
    attempt = _attempt(worker)
    return attempt is not None and attempt.end is None and is_held(worker.work.folder)


def _outcome(worker: _Worker) -> Outcome:
    """How a job ended, from what it noted in its folder: submitit's own results are not read."""
    attempt = _attempt(worker)
    if attempt is None or attempt.end is None:
        return Outcome(worker.work, False, f"ended without a word; see {_last_words(worker.work)}")
    shutil.rmtree(_job_folder(worker.work), ignore_errors=True)
    with contextlib.suppress(OSError):  # another command's files are there
        (worker.work.folder / JOB).rmdir()
    return Outcome(worker.work, attempt.end == "done", attempt.told)


def _last_words(work: Work) -> Path:
    """Where a job that could not even begin may have said why."""
    return next(iter(sorted(_job_folder(work).glob("*_0_log.out"))), _job_folder(work))
