"""What a job does, here or on a cluster: a `bench` command in each of its processes. Submitit calls it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission

from bench.core import launcher
from bench.core.errors import UserError, first_line
from bench.core.run_folder import LOG
from bench.core.stopping import SIGNALS, Stopped, listening
from bench.jobs import parent
from bench.runs import attempts
from bench.runs.argv import COMMAND_VARIABLE

PATIENCE, PAUSE = 300.0, 5.0
"""Seconds for which a queue is asked to take a job back, and between two times that it is."""

INTERRUPTED = 130
"""The exit code that Typer makes of Ctrl-C."""

FIRST_PORT, PORTS = 10_000, 10_000
"""Where processes meet: under what systems hand out to outgoing connections, any of which would block it."""


@dataclass(frozen=True)
class Work:
    """A `bench` command that works in a folder, in as many processes as its job has."""

    label: str
    stage: str
    """prepare, train or evaluate."""
    arguments: tuple[str, ...]
    folder: Path
    """Absolute: jobs may start elsewhere."""
    typed: tuple[str, ...] = ()
    """The command that the user typed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set before torch is imported."""
    parent: Path | None = None
    """The file by which a job on this machine knows that its command still runs (bench.jobs.parent)."""

    def __call__(self) -> None:
        """Do the work as one process of a job; ends by SystemExit unless all went well."""
        job = JobEnvironment()
        requeue = signal.getsignal(signal.SIGUSR2)
        if self.parent is not None:
            parent.follow(self.parent)
        launcher.clear(os.environ)
        os.environ.update({**self.environment, **_meeting(job), COMMAND_VARIABLE: json.dumps(self.typed)})
        if job.global_rank > 0:
            with _printed(self.folder / f"log-{job.global_rank}.txt"):
                self._follow()
            _ignore_signals()
            return
        restart = _restarts()
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        attempt = attempts.begin(self.folder, job.job_id, restart, node, self.stage)
        with _printed(self.folder / LOG):
            print(
                f"--- {self.stage}: job {job.job_id}, restart {restart}, {attempt.node}, {time.ctime()}",
                flush=True,
            )
            end, told = self._lead()
        # What is over cannot be stopped: a warning while Python exits would call a finished job failed. And the
        # queue's SIGTERM must not kill `scontrol`, a child of the very job that it is asked about.
        _ignore_signals()
        if end == "stopped" and callable(requeue) and (told == "SIGUSR2" or _is_kept(job)):
            attempts.finish(self.folder, attempt, "requeued", told)
            try:
                _put_back(requeue)
            except Exception as error:
                told = f"{told}, and it could not be put back into the queue: {first_line(error)}"
        attempts.finish(self.folder, attempt, end, told)
        if end != "done":
            sys.exit(130 if end == "stopped" else 1)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit starts when the job comes back: the same, since all progress is in the folder."""
        return DelayedSubmission(self)

    def _lead(self) -> tuple[attempts.End, str]:
        """Run the command in the first process; say how it ended."""
        try:
            code = self._run()
        except Stopped as stopped:
            print(f"{stopped}; goes on from here when it is started again")
            return "stopped", stopped.cause.name
        except UserError as error:
            print(f"error: {error}")
            return "failed", first_line(error)
        except KeyboardInterrupt:
            print("interrupted")
            return "stopped", "SIGINT"
        except Exception as error:
            traceback.print_exc()
            return "failed", f"{type(error).__name__}: {first_line(error)}"
        if code == INTERRUPTED:
            print("interrupted")
            return "stopped", "SIGINT"
        return ("failed", f"exit code {code}") if code else ("done", "")

    def _follow(self) -> None:
        """Run the command in another process; the first one says how it ended."""
        try:
            self._run()
        except Stopped:
            # The first process puts the job back into the queue, which ends this one: to leave now, with an
            # error, could end the job before.
            return

    def _run(self) -> int:
        """Run the command; return its exit code, since Typer turns an interrupt or an exit into one."""
        with listening():
            from bench.cli import command_line

            ended = command_line(self.arguments[0])(list(self.arguments), standalone_mode=False)
        return ended if isinstance(ended, int) else 0


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _put_back(requeue: Callable[[int, FrameType | None], object]) -> None:
    """Put this job back into the queue by submitit's handler, and exit. Raises what keeps it from that.

    A queue that gives no answer, as when its controller starts anew, is asked again for some minutes.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            requeue(signal.SIGUSR2, None)
        except subprocess.SubprocessError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE)


def _is_kept(job: JobEnvironment) -> bool:
    """Whether the queue still counts a job as running that was told to end.

    Then it has not taken it out, nor put it back: it wants its place in a while, and the job has to see to itself.
    """
    if job.cluster != "slurm":
        return False
    command = ["scontrol", "-o", "show", "job", job.job_id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return " JobState=RUNNING " in done.stdout


def _restarts() -> int:
    """How often the queue has started this job before; of work on this machine, inside another's job, never."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        return 0
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _meeting(job: JobEnvironment) -> dict[str, str]:
    """Environment by which torch.distributed finds the other processes of a job."""
    if job.num_tasks == 1:
        return {}
    port = FIRST_PORT + (int(job.raw_job_id) + 7919 * _restarts()) % PORTS
    return {
        "MASTER_ADDR": "127.0.0.1" if job.num_nodes == 1 else job.hostnames[0],
        "MASTER_PORT": str(port),
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(job.num_tasks // job.num_nodes),
    }


@contextlib.contextmanager
def _printed(path: Path) -> Iterator[None]:
    """Append all that this process prints, and its libraries, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
