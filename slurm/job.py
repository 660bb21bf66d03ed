"""A job of Slurm: submitit calls it in each of the job's processes, and puts it back into the queue."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission

from bench.jobs.job import JobProcess, rendezvous, run_job
from bench.jobs.spec import JobSpec

PATIENCE, PAUSE = 300.0, 5.0
"""Seconds for which a queue is asked to take a job back, and between two times that it is."""

FOLDER_PATIENCE = 900.0
"""Seconds to wait while another process works on the run: a node that Slurm has given up on may do so still."""


@dataclass(frozen=True)
class SlurmJob:
    """The work of a job, as submitit pickles and calls it."""

    spec: JobSpec

    def __call__(self) -> None:
        """Do the work as one process of the job; ends by SystemExit unless all went well."""
        job = JobEnvironment()
        handler = signal.getsignal(signal.SIGUSR2)
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        process = JobProcess(
            job.job_id, node, job.global_rank, _restarts(), _meeting(job), patience=FOLDER_PATIENCE
        )
        run_job(self.spec, process, _Requeue(job, handler) if callable(handler) else None)

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit starts when the job comes back: the same, since all progress is in the folder."""
        return DelayedSubmission(self)


@dataclass(frozen=True)
class _Requeue:
    """Submitit's way to put a job back into the queue: its handler of SIGUSR2."""

    job: JobEnvironment
    handler: Callable[[int, FrameType | None], object]

    def wanted(self, cause: str) -> bool:
        """Say whether the job has to go back: after a warning, or if the queue still counts it as running."""
        return cause == "SIGUSR2" or _is_kept(self.job)

    def put_back(self) -> None:
        """Put the job back, and exit. Raises what keeps it from that.

        A queue that gives no answer, as when its controller restarts, is asked again for some minutes.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.handler(signal.SIGUSR2, None)
            except subprocess.SubprocessError:
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE)


def _is_kept(job: JobEnvironment) -> bool:
    """Return whether the queue still counts a job as running that was asked to end.

    Then it has not taken it out, nor put it back: it wants its place in a while, and the job has to see to itself.
    """
    if job.cluster != "slurm":
        return False
    command = ["scontrol", "-o", "show", "job", job.job_id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return " JobState=RUNNING " in done.stdout


def _restarts() -> int:
    """Return how often the queue has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _meeting(job: JobEnvironment) -> dict[str, str]:
    """Return the environment by which torch.distributed finds the other processes of a job."""
    address = "127.0.0.1" if job.num_nodes == 1 else job.hostnames[0]
    seed = int(job.raw_job_id) + 7919 * _restarts()
    per_node = job.num_tasks // job.num_nodes
    return rendezvous(address, seed, job.global_rank, job.num_tasks, job.local_rank, per_node)
