"""What a disk refuses to a writer, by name: it is full or read-only, or the file may not be so large."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import UserError
from bench.core.escape import shell_path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""
REFUSED = (*FULL, errno.EFBIG)
"""Those, and that of a file that may not grow."""
_CUT_SHORT = re.compile(r"unexpected pos|os error 27")
"""What torch's and safetensors' writers, which are no Python, say of a file that may not grow."""
_PROBE_BYTES = 1 << 18


class DiskFullError(UserError):
    """No more can be written where a file is to be, by the disk or a limit; the file's content is not at fault."""


def not_writable(path: Path, error: OSError, what: str = "folder") -> UserError:
    """Return the error of a folder, or of a file that is there, which cannot be written."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            return UserError(
                f"{path} cannot be written: {place} is a link to {target}, which is not there; "
                f"fix: mkdir -p {shell_path(place.parent / target)}"
            )
        if what == "folder" and place.exists() and not place.is_dir():
            return UserError(
                f"the folder {path} cannot be made: {place} is a file; "
                "fix: name another folder (--runs, --cache, --out)"
            )
    return UserError(
        f"the {what} {path} cannot be written to: {error.strerror or error}; "
        "fix: change its permissions, or name another one (--runs, --cache, --out)"
    )


def no_place_for_temporaries(error: OSError) -> DiskFullError | None:
    """Return the error with its fix if it is Python's of a system without temporary files, else None.

    Torch looks for their folder as soon as it is imported.
    """
    if not str(error.strerror).startswith("No usable temporary directory"):  # it lists the folders that were tried
        return None
    return DiskFullError(f"temporary files: {error.strerror}; fix: export TMPDIR=FOLDER, one with free space")


@contextlib.contextmanager
def named_if_not_writable(path: Path, what: str = "folder") -> Iterator[None]:
    """Raise UserError in place of the system's error for a path that takes no writing, unless the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED:
            raise
        raise not_writable(path, error, what) from None


@contextlib.contextmanager
def named_if_full(path: Path) -> Iterator[None]:
    """Raise DiskFullError in place of a writer's error for a full disk; torch's is `unexpected pos 64 vs 0`.

    A limit to the size of files, as `ulimit -f` sets, is one, too.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        again = "run the same command again: it continues from its files"
        if number in FULL or _is_full(path.parent):
            raise DiskFullError(
                f"the disk is full: {path} cannot be written; "
                f"fix: free some space, or raise your quota, and {again}"
            ) from error
        if number == errno.EFBIG or (_limited() and _CUT_SHORT.search(str(error))):
            raise DiskFullError(
                f"{path} cannot be written: it is larger than this shell or its disk lets a file be; "
                f"fix: ulimit -f unlimited, and {again}"
            ) from error
        raise


def _is_full(folder: Path) -> bool:
    """Say whether even a small file cannot be written into a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno in FULL
    return False


def _limited() -> bool:
    """Say whether this process may write files of some size alone."""
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
