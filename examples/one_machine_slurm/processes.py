"""The processes of a local cluster, found by the mark in their environment, not by remembered numbers."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import UserError, listed

MARK = "LOCAL_SLURM"


class Process(NamedTuple):
    """A living process: its number, its parent's, its name, and its role (`munged`, `slurmctld` or a node)."""

    pid: int
    parent: int
    name: str
    owner: str


def processes(conf: Path, nodes: Container[str]) -> list[Process]:
    """Return the daemons of the cluster that `conf` configures, its job steps and all that these started.

    Daemons carry the mark `CONF OWNER`, which a step's slurmstepd inherits from its slurmd. What a job runs
    carries Slurm's own variables, or else descends from a slurmstepd.
    """
    everyone = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # A process may end while it is read, or be another user's.
            with contextlib.suppress(OSError):
                everyone[int(entry.name)] = _read(entry, str(conf), nodes)
    found = {pid: process for pid, process in everyone.items() if process.owner}
    while heirs := {
        pid: process._replace(owner=found[process.parent].owner)
        for pid, process in everyone.items()
        if pid not in found and process.parent in found
    }:
        found |= heirs
    return list(found.values())


def _read(entry: Path, conf: str, nodes: Container[str]) -> Process:
    name, _, parent, *_ = _stat(entry)
    environment = dict(
        variable.partition("=")[::2]
        for variable in (entry / "environ").read_bytes().decode(errors="replace").split("\0")
    )
    owner = ""
    marked_conf, _, marked_owner = environment.get(MARK, "").rpartition(" ")
    if marked_conf == conf:
        owner = marked_owner
    elif environment.get("SLURM_CONF") == conf and environment.get("SLURMD_NODENAME", "") in nodes:
        owner = environment["SLURMD_NODENAME"]
    return Process(int(entry.name), int(parent), name, owner)


def kill_all(find: Callable[[], Sequence[Process]], seconds: float = 60) -> None:
    """Kill what `find` finds until it finds nothing. Raises UserError if some are left after `seconds`.

    They are stopped before the first is killed: no child slips away from a parent that dies, and no slurmstepd
    that sees its task die tells the controller that the job failed.
    """
    end = time.monotonic() + seconds
    while left := find():
        if time.monotonic() > end:
            raise UserError(f"processes that do not die: {listed(process.pid for process in left)}")
        stopped: set[int] = set()
        while new := {process.pid for process in left} - stopped:
            _signal(new, signal.SIGSTOP)
            stopped |= new
            left = find()
        _signal(stopped, signal.SIGKILL)
        while any(map(_lives, stopped)) and time.monotonic() < end:
            time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Return whether a process still has resources: a killed one loses its environment before its sockets."""
    try:
        return _stat(Path(f"/proc/{pid}"))[1] not in "ZX"
    except OSError:
        return False


def _stat(entry: Path) -> list[str]:
    """A process's name, state, parent and so on, from its folder in /proc."""
    before, _, after = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")
    return [before.partition("(")[2], *after.split()]


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
