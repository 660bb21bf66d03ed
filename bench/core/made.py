"""What commands make once for all that need it, and make again if it was lost or damaged."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import UserError, without_fix
from bench.core.escape import printable, shell_path
from bench.core.locks import lock_of, locked
from bench.core.temporaries import remove_temporaries

QUIET_SECONDS = 2.0
"""Seconds for which a process waits for another one before it says so."""


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[bool]:
    """Say whether `path` is missing, while no other process can be making it.

    A second process waits here until the first has made it, says so, and then finds it.
    """
    if path.exists():
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock_of(path), QUIET_SECONDS))
        except TimeoutError:
            print(printable(f"waiting for another process, which makes {path}"), file=sys.stderr, flush=True)
            stack.enter_context(locked(lock_of(path)))
        if not path.exists():
            remove_temporaries(path.parent, path.name)
        yield not path.exists()


@contextlib.contextmanager
def reading_made(what: str, path: Path) -> Iterator[None]:
    """Read inside what a command made itself; it can be made again.

    Raises UserError whose fix is to remove the file or folder `path`, whatever fix the reading proposes.
    """
    try:
        yield
    except UserError as error:
        reason, remove = without_fix(error), "rm -r" if path.is_dir() else "rm"
        raise UserError(
            f"cannot read {what} {path}: {reason}; fix: {remove} {shell_path(path)}, and run again"
        ) from None
