"""Jobs side by side on this machine: a bar for each; no failure takes another with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as RichBars
from rich.progress import TaskID

from bench.core.escape import printable, rich_text
from bench.core.files import digest, make_folder
from bench.core.progress_bars import bars, figures_text
from bench.core.run_folder import LOG, STATUS
from bench.core.status import read_status
from bench.core.stopping import noting_interrupts
from bench.jobs.forkserver import ForkServer
from bench.jobs.job import RENDEZVOUS, JobProcess, rendezvous, run_job
from bench.jobs.spec import JobSpec
from bench.runs.states.attempts import Attempt, attempts
from bench.runs.states.lock import is_locked

POLL_SECONDS = 0.5
STOP_SECONDS = 600.0
"""Seconds that stopping jobs have to finish an iteration and write a checkpoint, before they are killed."""
SAME_SECONDS = 1.0
"""Seconds after an interrupt within which another one is the same."""


@dataclass
class _Job:
    spec: JobSpec
    pids: list[int]
    """Numbers of its processes; the first one is the number of the job."""
    server: ForkServer
    bar: TaskID
    slot: int
    """Its place among those that run side by side."""

    def done(self) -> bool:
        """Return whether all processes have ended. If one has failed, stop the others."""
        open_ = [pid for pid in self.pids if not self.server.ended(pid)]
        if open_ and any(self.server.code(pid) for pid in self.pids):
            self.stop()
        return not open_

    def stop(self) -> None:
        """Tell the processes to stop."""
        for pid in self.pids:
            if not self.server.ended(pid):
                self.server.send(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the processes that have not ended."""
        for pid in self.pids:
            if not self.server.ended(pid):
                self.server.send(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Outcome:
    """The end of a job."""

    spec: JobSpec
    done: bool
    reason: str
    """Reason of a failure, if there was one."""


@dataclass(frozen=True)
class Share:
    """The part of the machine that each job gets."""

    threads: int = 1
    """CPU threads of each process."""
    processes: int = 1
    """Processes that work on one job together."""
    gpus: int = 0
    """GPUs of the machine that this command may use; each process takes one, while there are any."""
    gpu_names: tuple[str, ...] = ()
    """CUDA's names of the GPUs that the user selected; empty if they are numbered."""

    def visible_gpus(self, slot: int) -> dict[str, str]:
        """Environment that shows the job in place `slot` GPUs of its own, while there are enough."""
        first = slot * self.processes if self.gpus > self.processes else 0
        chosen = [(first + i) % self.gpus for i in range(min(self.processes, self.gpus))]
        names = self.gpu_names or tuple(map(str, range(self.gpus)))
        return {"CUDA_VISIBLE_DEVICES": ",".join(names[i] for i in chosen)}


def chosen_gpus() -> tuple[str, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, by the user or a queue; nothing if it is not set."""
    return tuple(name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip())


def run_jobs(
    specs: Sequence[JobSpec], parallel: int, share: Share, server: ForkServer, console: Console
) -> list[Outcome]:
    """Do all jobs, at most `parallel` at once, each with its share of the machine; return how each ended.

    On Ctrl-C the jobs stop after a checkpoint, on a second one at once, and the interrupt goes on to the caller.
    They stop, too, if this process is killed.
    """
    waiting, running, ended = list(specs), list[_Job](), list[Outcome]()
    with bars(console) as drawn:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    spec = waiting.pop(0)
                    bar = drawn.add_task(printable(spec.label), total=None, figures="starting")
                    slot = min(set(range(parallel)) - {job.slot for job in running})
                    running.append(_Job(spec, _start(spec, slot, share, server), server, bar, slot))
                time.sleep(POLL_SECONDS)
                for job in list(running):
                    _show(job, drawn)
                    if job.done() and not _outlived(job):
                        running.remove(job)
                        drawn.remove_task(job.bar)
                        outcome = _outcome(job)
                        ended.append(outcome)
                        state = "done" if outcome.done else f"failed: {outcome.reason}"
                        console.print(rich_text(f"{job.spec.label}: {state}"), soft_wrap=True)
        finally:
            _stop(running, console)
    return ended


def _stop(jobs: Sequence[_Job], console: Console) -> None:
    """Tell jobs to stop, wait until they have, and say how; a second Ctrl-C, or too long a time, kills them."""
    if not jobs:
        return
    with noting_interrupts() as interrupts:
        for job in jobs:
            job.stop()
        _tell(console, "stopping after a checkpoint; Ctrl-C again kills the jobs")
        _wait_for_end(jobs, interrupts)
        for job in jobs:
            job.kill()
        for job in jobs:
            attempt = _attempt(job)
            how = "killed" if attempt is None or attempt.end is None else f"{attempt.end}: {attempt.reason}"
            _tell(console, f"{job.spec.label}: {how}")


def _tell(console: Console, text: str) -> None:
    """Print a line while jobs stop, if anybody is left to read it: their end is waited for in any case."""
    with contextlib.suppress(OSError, SystemExit):  # a terminal was closed; rich exits where a pipe was
        console.print(rich_text(text), soft_wrap=True)


def _wait_for_end(jobs: Sequence[_Job], interrupts: Sequence[float]) -> None:
    """Wait until jobs have stopped, or an interrupt comes. One together with the first is the same, passed on."""
    began = now = time.monotonic()
    while now - began < STOP_SECONDS and not any(at - began > SAME_SECONDS for at in interrupts):
        if all(job.done() and not _outlived(job) for job in jobs):
            return
        time.sleep(POLL_SECONDS)
        now = time.monotonic()


def _start(spec: JobSpec, slot: int, share: Share, server: ForkServer) -> list[int]:
    make_folder(spec.folder)
    if not is_locked(spec.folder):  # else another command works there, and these are its files
        (spec.folder / STATUS).unlink(missing_ok=True)
        spec.write()
    pids: list[int] = []
    count, seed = share.processes, os.getpid() * 7919 + int(digest(str(spec.folder)), 16)
    for rank in range(count):
        environment = {**share.visible_gpus(slot), **rendezvous("127.0.0.1", seed, rank, count, rank, count)}
        arguments = [spec.label, spec.stage, str(spec.folder), list(spec.argv), rank]
        pids.append(server.fork(f"{__name__}:work", arguments, environment))
    return pids


def work(label: str, stage: str, folder: str, argv: Sequence[str], rank: int) -> None:
    """Be one process of a job on this machine."""
    spec = JobSpec(label, stage, Path(folder), tuple(argv))  # type: ignore[arg-type]
    meeting = {name: os.environ[name] for name in RENDEZVOUS if name in os.environ}
    run_job(spec, JobProcess(str(os.getpid()), socket.gethostname(), rank, environment=meeting))


def _show(job: _Job, drawn: RichBars) -> None:
    """Move a job's bar to where its status file says it is; before it has begun, there is none."""
    status = read_status(job.spec.folder)
    if status is not None:
        drawn.update(
            job.bar,
            description=printable(f"{job.spec.label}: {status.stage}"),
            total=status.total,
            completed=status.completed,
            figures=figures_text(status.figures),
        )


def _attempt(job: _Job) -> Attempt | None:
    """Return the attempt that a job recorded, not those of other commands on the same run."""
    own = [one for one in attempts(job.spec.folder) if one.job == str(job.pids[0])]
    return own[-1] if own else None


def _outlived(job: _Job) -> bool:
    """Return whether a job still works after its server ended; it ends soon (bench.jobs.forkserver)."""
    attempt = _attempt(job)
    return attempt is not None and attempt.end is None and is_locked(job.spec.folder)


def _outcome(job: _Job) -> Outcome:
    """Return how a job ended, as it recorded in its folder."""
    attempt = _attempt(job)
    if attempt is None or attempt.end is None:
        code = job.server.code(job.pids[0])
        reason = f"ended without a word (exit code {code}); see {job.spec.folder / LOG}"
        return Outcome(job.spec, False, reason)
    return Outcome(job.spec, attempt.end == "done", attempt.reason)
