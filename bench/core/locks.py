"""Locks on files, which go with the process that has them, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bench.core.disk import FULL, named_if_full, not_writable
from bench.core.errors import UserError
from bench.core.files import make_folder, regular_file

RETRY_SECONDS = 0.05


def open_lock(path: Path) -> IO[str]:
    """Open a file to lock, and make it if it is missing.

    Another user's, in a folder that several share, may only be read, and can be locked all the same. Raises
    UserError where it is missing and may not be made.
    """
    if path.exists():
        regular_file(path)  # a named pipe would keep this process for ever
    make_folder(path.parent)
    with named_if_full(path):
        try:
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        except OSError as error:
            if error.errno in FULL:
                raise
            if not path.is_file():
                raise not_writable(path.parent, error) from None
            return path.open()


def lock_of(path: Path) -> Path:
    """Return the hidden file beside `path` that is locked by whoever makes or changes `path`."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path, patience: float | None = None) -> Iterator[None]:
    """Hold a lock on a file within the block, and wait `patience` seconds for it (None: as long as it takes).

    Raises TimeoutError if another process holds it all that time, UserError as `open_lock` does, and where the
    file system has no locks.
    """
    with open_lock(path) as lock:
        _take(lock.fileno(), path, patience)
        yield


def _take(descriptor: int, path: Path, patience: float | None) -> None:
    """Lock an open file, as `locked` describes."""
    from filelock import lock_descriptor  # here, because commands that lock nothing must start fast

    try:
        if patience is None:
            lock_descriptor(descriptor, poll_interval=RETRY_SECONDS)
            return
        until = time.monotonic() + patience
        while not lock_descriptor(descriptor, blocking=False):
            if time.monotonic() >= until:
                raise TimeoutError(f"{path} is locked by another process")
            time.sleep(min(1.0, patience))
    except TimeoutError:  # an OSError, too
        raise
    except OSError as error:
        raise UserError(
            f"{path} cannot be locked: {error.strerror or error}; without locks two commands could write one file "
            "at once; fix: name a folder on another file system (--runs, --cache, --out), or mount this one with "
            "locks"
        ) from error


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock at this moment; False where that cannot be read.

    Those who look lock the file together for an instant, and it may be one that they can only read: filelock has
    neither, on network file systems least of all.
    """
    if not path.is_file():
        return False
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
