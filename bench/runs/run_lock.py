"""The lock on a run's folder, so that no two commands work on one run."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bench.core.errors import UserError
from bench.core.files import open_lock
from bench.core.run_folder import LOCK


@contextlib.contextmanager
def held(folder: Path, patience: float = 0) -> Iterator[None]:
    """Lock a run's folder. Raises UserError if another process keeps the lock for `patience` seconds.

    Waiting helps when a scheduler has given up a node whose process is still ending. If several processes train
    together, the first one locks for all.
    """
    from accelerate import PartialState

    if not PartialState().is_main_process:
        yield
        return
    with open_lock(folder / LOCK) as lock:
        until = time.monotonic() + patience
        while not _taken(lock, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise UserError(f"another process is working on {folder}; fix: wait for it, or stop it")
            time.sleep(min(1.0, patience))
        yield


def _taken(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(folder: Path) -> bool:
    """Whether a process is working on a run now; False if the lock cannot be read."""
    path = folder / LOCK
    if not path.is_file():
        return False
    try:
        with path.open() as lock:  # read-only, since the folder may belong to another user
            return not _taken(lock, fcntl.LOCK_SH)
    except OSError:
        return False
