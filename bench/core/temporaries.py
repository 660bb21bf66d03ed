"""The hidden files and folders in which things are written until they are whole, and what killed writers leave.

A writer locks its own until it ends, however it ends: what is not locked has lost its writer, and may be removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.core.disk import named_if_full, no_place_for_temporaries

_MARK = ".bench-"
"""Part of the names, so that no hidden file of the user's is taken for a temporary one."""
_TEMPORARY = re.compile(rf"\.(?P<name>.+){re.escape(_MARK)}[a-z0-9_]{{8}}(\.old|\.[A-Za-z0-9]+)?")
"""Pattern of the names; `.old` is that of a folder which gives its place to a new one."""


@contextlib.contextmanager
def temporary_beside(path: Path, is_folder: bool) -> Iterator[Path]:
    """Make an empty hidden file or folder beside `path`, and remove it at the end, unless it was renamed.

    What killed writers of the same path left there is removed first.
    """
    remove_temporaries(path.parent, path.name)
    made, lock = _locked(path, is_folder)
    try:
        yield made
    finally:
        os.close(lock)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(made, ignore_errors=True) if is_folder else made.unlink()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for files that nobody keeps, and remove it at the end, with those that killed commands left.

    It is in $TMPDIR, or where the system has temporary files. Raises DiskFullError if there is no such
    place, or it is full.
    """
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise no_place_for_temporaries(error) or error from None
    name = place / "scratch"
    with named_if_full(name), temporary_beside(name, is_folder=True) as folder:
        yield folder


def _locked(path: Path, is_folder: bool) -> tuple[Path, int]:
    """Return a new temporary and the descriptor that locks it."""
    prefix = f".{path.name}{_MARK}"
    while True:
        if is_folder:
            name = tempfile.mkdtemp(prefix=prefix, dir=path.parent)
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
            os.close(handle)
        with contextlib.suppress(FileNotFoundError):  # another process took it for lost before the lock
            lock = os.open(name, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks, where nothing is lost either
                fcntl.flock(lock, fcntl.LOCK_SH)
            if Path(name).exists():
                return Path(name), lock
            os.close(lock)


def remove_temporaries(folder: Path, name: str | None = None) -> list[Path]:
    """Remove the temporaries of killed writers from a folder, for `name` or for any name; return their paths.

    A folder that a killed writer had moved aside before the new one took its place is put back: it is the only
    copy. What another process is writing stays.
    """
    removed = []
    for path in _temporaries(folder, name):
        with contextlib.suppress(OSError), _without_writer(path):  # another user's may stay; it does no harm
            found = _TEMPORARY.fullmatch(path.name)
            if path.name.endswith(".old") and found and not (folder / found["name"]).exists():
                path.rename(folder / found["name"])
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            removed.append(path)
    return removed


def _temporaries(folder: Path, name: str | None) -> list[Path]:
    """Return the temporaries in a folder, sorted. Names are compared as text: a folder may have many files."""
    try:
        entries = os.listdir(folder)  # noqa: PTH208 (a Path for each of them takes ten times as long)
    except OSError:
        return []
    prefix = f".{name or ''}"
    found = ((entry, _TEMPORARY.fullmatch(entry)) for entry in entries if entry.startswith(prefix))
    return sorted(folder / entry for entry, match in found if match and name in (None, match["name"]))


@contextlib.contextmanager
def _without_writer(path: Path) -> Iterator[None]:
    """Lock a temporary, so that its writer has ended. Raises OSError if it has not, or that cannot be known."""
    is_folder = path.is_dir() and not path.is_symlink()
    lock = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
