"""Holding a run's folder, so that no two commands work on one run."""

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
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Hold a run's folder, so that no other command works on the run. Raises UserError if one does.

    It may let go within `patience` seconds: a node that a scheduler has given up may still be at work.
    Of several processes that work together, the first holds it for all.
    """
    from accelerate import PartialState

    if not PartialState().is_main_process:
        yield
        return
    with open_lock(folder / LOCK) as lock:
        until = time.monotonic() + patience
        while not _taken(lock, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise UserError(f"another process is working on {folder}; wait for it, or stop it")
            time.sleep(min(1.0, patience))
        yield


def _taken(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(folder: Path) -> bool:
    """Whether somebody works on a run at this moment; False where that cannot be read."""
    path = folder / LOCK
    if not path.is_file():
        return False
    try:
        with path.open() as lock:  # to read: the folder may be another user's
            return not _taken(lock, fcntl.LOCK_SH)
    except OSError:
        return False
