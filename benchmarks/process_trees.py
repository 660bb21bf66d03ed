"""The processes below a process, and their end by SIGKILL (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PR_SET_CHILD_SUBREAPER = 36
GONE = "ZX"
"""States of processes that have ended: their memory, files and GPUs are free, whoever has yet to notice."""


class Process(NamedTuple):
    """A process; its number and its start together name it, since numbers are used again."""

    pid: int
    parent: int
    begun: int
    """In ticks since the machine's start."""


def adopt_orphans() -> None:
    """Become the parent of all processes below this one whose own parents end, so that none is lost from sight."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> list[Process]:
    """Return the processes below one that have not ended, parents before their children."""
    children: dict[int, list[Process]] = {}
    for process in _alive():
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(root, ()))
    for process in found:  # the list grows
        found += children.get(process.pid, ())
    return found


def kill_below(root: int, seconds: float = 20.0) -> int:
    """End all processes below one by SIGKILL, and wait until they are gone; return their number.

    Sessions and process groups do not matter. All are halted before the first one is killed: none sees another
    end, and none starts more. Raises TimeoutError if some are still there after so many seconds.
    """
    found = set[Process]()
    while more := set(descendants(root)) - found:
        for process in more:
            _send(process, signal.SIGSTOP)
        found |= more
    for process in found:
        _send(process, signal.SIGKILL)
    until = time.monotonic() + seconds
    ended = {(process.pid, process.begun) for process in found}
    while left := [process.pid for process in _alive() if (process.pid, process.begun) in ended]:
        if time.monotonic() > until:
            raise TimeoutError(f"processes {left} are there {seconds:.0f} s after SIGKILL")
        time.sleep(0.01)
    return len(found)


def _send(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _alive() -> Iterator[Process]:
    """Yield all processes of the machine that have not ended."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                # The name, in brackets, may contain anything.
                state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
                if state not in GONE:
                    yield Process(int(folder.name), int(parent), int(rest[17]))
