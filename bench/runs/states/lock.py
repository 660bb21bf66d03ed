"""The lock on a run's folder, so that no two commands work on one run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.core import locks
from bench.core.errors import UserError, listed
from bench.core.run_folder import LOCK, runs_option


class UnderWayError(UserError):
    """Another command works on a run, which would be done twice."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """`folders` are those of the runs, at least one."""
        names = [f"{folder.absolute().parent.name}/{folder.name}" for folder in folders]
        where = runs_option(folders[0].parent.parent)
        super().__init__(
            f"another command works on {listed(names)}; "
            f"fix: wait for it: bench wait {names[0]}{where}, then run this again"
        )


@contextlib.contextmanager
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Lock a run's folder. Raises UnderWayError if another process keeps the lock for `patience` seconds.

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
            raise UnderWayError([folder]) from None
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process is working on a run now; False if the lock cannot be read."""
    return locks.is_locked(folder / LOCK)
