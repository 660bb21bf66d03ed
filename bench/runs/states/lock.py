"""The lock on a run's folder, so that no two commands work on one run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.core import locks
from bench.core.errors import UserError
from bench.core.run_folder import LOCK


@contextlib.contextmanager
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Lock a run's folder. Raises UserError if another process keeps the lock for `patience` seconds.

    Waiting helps when a scheduler has given up a node whose process is still ending. If several processes train
    together, the first one locks for all.
    """
    from accelerate import PartialState

    if not PartialState().is_main_process:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(folder / LOCK, patience))
        except TimeoutError:
            raise UserError(f"another process is working on {folder}; fix: wait for it, or stop it") from None
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process is working on a run now; False if the lock cannot be read."""
    return locks.is_locked(folder / LOCK)
