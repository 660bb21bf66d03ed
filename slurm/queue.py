"""Queries to Slurm: its jobs, its nodes, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.core.errors import UserError
from slurm.environment import environment
from slurm.refusal import LIMIT

PREFIX = "bench-"
"""Prefix of the names of all our jobs."""
DEFAULT_ARRAY = 1000
"""Most jobs that a cluster takes in one array unless it says otherwise."""
SECONDS = 60.0
"""The time that a command of Slurm may take."""
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
)
"""Queue states of jobs that have ended. A job in any other state counts as active."""
NOT_ENDED = ("PENDING", "RUNNING", "REQUEUED", "RESIZING", "SUSPENDED")
"""Accounting states of active jobs. They are out of date for jobs that are not in the queue."""


class QueueFullError(UserError):
    """The queue takes no more jobs of this user for now."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that the queue still knows; of an array, one element."""

    id: str
    """123, or 123_4."""
    name: str
    state: str
    """PENDING, RUNNING, and so on."""
    reason: str
    """Why it is pending."""
    node: str


def require_commands(*names: str) -> None:
    """Raise UserError if a Slurm command is missing on this machine."""
    for name in names:
        if shutil.which(name) is None:
            raise UserError(
                f"there is no {name} on PATH: this machine is no login node of a Slurm cluster; "
                "fix: run here with --executor local, or log in to one"
            )


def slurm(*command: str) -> str:
    """Run a command of Slurm; return what it prints. Raises UserError with what it says is wrong."""
    require_commands(command[0])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} gave no answer in {SECONDS:.0f} s; fix: try again later") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        lines = [line for line in said.splitlines() if not line.startswith('Try "')] or [said]
        limit = "".join(f" ({name})" for name in re.findall(LIMIT, said) if name not in lines[-1])
        raise UserError(f"{' '.join(command[:2])} failed: {lines[-1]}{limit}")
    return done.stdout


def all_jobs(users: Iterable[str] = ()) -> dict[str, QueuedJob]:
    """Return all our jobs in the queue by id, also those that ended recently; each element of an array is one job.

    This asks the controller once. `users` are other users whose jobs are returned too, where Slurm shows them.
    """
    whose = [f"--user={','.join(sorted({str(os.getuid()), *users}))}"] if users else ["--me"]
    text = slurm("squeue", *whose, "-h", "-r", "--states=all", "-o", "%i|%j|%T|%r|%N")
    found = (QueuedJob(*line.strip().split("|", 4)) for line in text.splitlines() if line.count("|") >= 4)
    return {job.id: job for job in found if job.name.startswith(PREFIX)}


def queued_jobs() -> dict[str, QueuedJob]:
    """Our jobs that wait or run, by id; elements of arrays one by one."""
    return under_way(all_jobs())


def under_way(jobs: Mapping[str, QueuedJob]) -> dict[str, QueuedJob]:
    """Return the jobs that have not ended."""
    return {number: job for number, job in jobs.items() if job.state not in ENDED}


def ended_states(ids: Iterable[str], known: Mapping[str, QueuedJob] | None = None) -> dict[str, str]:
    """Return the final states of jobs that have ended, from the queue if it has them, else from the accounts.

    `known` is the latest result of `all_jobs`. The accounts are asked about a job once, since its state is final.
    """
    wanted = set(ids)
    if not wanted:
        return {}
    jobs = all_jobs() if known is None else known
    found = {
        job.id: job.state if job.reason in ("None", "") else f"{job.state}: {job.reason}" for job in jobs.values()
    }
    # Slurm reports the tasks of an array that were cancelled before they started as one job.
    unknown = {job for job in wanted - found.keys() if _either(job, found) is None and _either(job, _told) is None}
    _told.update(_accounts(unknown))
    either = {job: _either(job, found) or _either(job, _told) for job in wanted}
    return {job: state for job, state in either.items() if state}


_told: dict[str, str] = {}
"""Final states of jobs that this process has read from the accounts."""


def _either(job: str, said: Mapping[str, str]) -> str | None:
    return said.get(job) or said.get(job.partition("_")[0])


def _accounts(ids: set[str]) -> dict[str, str]:
    """Return job states by sacct; no states if the cluster has no accounts or gives no answer."""
    mains = sorted({job.partition("_")[0] for job in ids})
    if not mains or shutil.which("sacct") is None:
        return {}
    try:
        text = slurm("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(mains))
    except UserError:
        return {}
    lines = (line.partition("|") for line in text.splitlines())
    # What of an array was taken out before it began is one line, such as 8_[1,3-5%2].
    return {job.partition("_[")[0]: state for job, _, state in lines if state not in NOT_ENDED}


def largest_array() -> int:
    """Most jobs that the cluster takes in one array."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", slurm("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found.group(1)) - 1) if found else DEFAULT_ARRAY


def release(jobs: Sequence[str]) -> None:
    """Let jobs go that were submitted on hold; one that was let go before, or is over, stays as it is."""
    if jobs:
        slurm("scontrol", "release", ",".join(jobs))


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs. Running jobs are asked to stop first."""
    if jobs:
        slurm("scancel", *jobs)
