"""Holding a run's folder, so that no two commands work on one run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.core import locks
from bench.core.errors import UserError
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
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(folder / LOCK, patience))
        except TimeoutError:
            raise UserError(f"another process is working on {folder}; wait for it, or stop it") from None
        yield


def is_locked(folder: Path) -> bool:
    """Whether somebody works on a run at this moment; False where that cannot be read."""
    return locks.is_locked(folder / LOCK)
