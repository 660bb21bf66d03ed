"""One process of a job: it does the work, writes what it prints into the run's log, and notes how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.core import launcher
from bench.core.errors import UserError, first_line
from bench.core.files import make_folder
from bench.core.run_folder import LOG
from bench.core.stopping import SIGNALS, Stopped, exit_code, listening
from bench.jobs.spec import JobSpec
from bench.runs.argv import set_user_argv
from bench.runs.plugins.places import placed, plugin_place
from bench.runs.states import attempts
from bench.runs.states.lock import UnderWayError

RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables of torch.distributed, in the order of the arguments of `rendezvous`."""
FIRST_PORT, PORTS = 10_000, 10_000
"""Ports of the rendezvous (first, count), below those of outgoing connections, which could block them."""


class Requeue(Protocol):
    """The way back into the queue for a job that received the signal to stop."""

    def wanted(self, cause: str) -> bool:
        """Say whether the job has to go back into the queue after the signal `cause`."""

    def put_back(self) -> None:
        """Put the job back, and exit. Raises what keeps it from that."""


@dataclass(frozen=True)
class JobProcess:
    """The identity of a process and its job."""

    job: str
    """Number of the job in its queue; on this machine, of its first process."""
    node: str
    rank: int = 0
    restart: int = 0
    """Number of times that the queue has started this job before."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the work, such as the address of the job's other processes."""
    patience: float = 0
    """Seconds to wait while another process works on the run, as on a node that a queue has given up on."""


def rendezvous(
    address: str, seed: int, rank: int, processes: int, local_rank: int, local_processes: int
) -> dict[str, str]:
    """Return the environment by which torch.distributed finds the other processes of a job; a single one has none.

    `seed`, the same for all of them, picks the port on the node `address`.
    """
    if processes == 1:
        return {}
    values = (address, FIRST_PORT + seed % PORTS, rank, processes, local_rank, local_processes)
    return dict(zip(RENDEZVOUS, map(str, values), strict=True))


def run_job(spec: JobSpec, process: JobProcess, requeue: Requeue | None = None) -> None:
    """Do a job's work as one of its processes; ends by SystemExit unless all went well."""
    launcher.clear(os.environ)
    os.environ.update(process.environment)
    set_user_argv(spec.argv)
    if process.rank > 0:
        with _printed(spec.folder / f"log-{process.rank}.txt"):
            _follow(spec, process)
        _ignore_signals()
        return
    attempt = attempts.begin(spec.folder, process.job, process.restart, process.node, spec.stage)
    with _printed(spec.folder / LOG):
        restart = f"restart {process.restart}, {process.node}, {time.ctime()}"
        print(f"--- {spec.stage}: job {process.job}, {restart}", flush=True)
        end, reason = _lead(spec, process)
    cause = reason.partition(",")[0]
    # What is over cannot be stopped: a warning while Python exits would call a finished job failed. And the
    # queue's SIGTERM must not kill `scontrol`, a child of the very job that it is asked about.
    _ignore_signals()
    if end == "stopped" and requeue is not None and requeue.wanted(cause):
        attempts.finish(spec.folder, attempt, "requeued", reason)
        try:
            requeue.put_back()
        except Exception as error:
            reason = f"{reason}, and it could not be put back into the queue: {first_line(error)}"
    attempts.finish(spec.folder, attempt, end, reason)
    if end != "done":
        sys.exit(exit_code(signal.Signals[cause]) if end == "stopped" else 1)


def _lead(spec: JobSpec, process: JobProcess) -> tuple[attempts.End, str]:
    """Do the work in the first process; say how it ended."""
    try:
        _work(spec, process)
    except Stopped as stopped:
        reason = _where(stopped)
        print(f"stopped by {reason}; goes on from here when it is started again")
        return "stopped", reason
    except UserError as error:
        print(f"error: {error}")
        return "refused" if isinstance(error, UnderWayError) else "failed", first_line(error)
    except KeyboardInterrupt:
        print("interrupted")
        return "stopped", "SIGINT"
    except SystemExit as end:
        traceback.print_exc()  # a plug-in's: nothing else ends the work in this way
        return "failed", f"exit code {end.code}"
    except Exception as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {placed(error).splitlines()[0]}"
    return "done", ""


def _follow(spec: JobSpec, process: JobProcess) -> None:
    """Do the work in another process; the first one says how it ended."""
    try:
        _work(spec, process)
    except Stopped as stopped:
        print(f"stopped by {_where(stopped)}")
        # The first process puts the job back into the queue, which ends this one: to leave now, with an
        # error, could end the job before.
        return


def _where(stopped: Stopped) -> str:
    """Return the signal that stopped the work, and the line of a plug-in at which it did."""
    where = plugin_place(stopped)
    return stopped.cause.name + (f", {where}" if where else "")


def _work(spec: JobSpec, process: JobProcess) -> None:
    with listening() as stop:
        from bench.jobs.start import start  # while signals are heard: importing it takes seconds

        start(spec.folder, spec.stage, stop, process.patience)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _printed(path: Path) -> Iterator[None]:
    """Append all that this process prints, and its libraries, to a file."""
    make_folder(path.parent)
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
