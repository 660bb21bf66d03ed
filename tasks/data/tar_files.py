"""Uncompressed tars, looked through with care: one that is cut short is never taken for a whole one."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from tasks.errors import UserError

FIX = "fix: download or copy it again"


def opened(file: IO[bytes], name: str) -> tarfile.TarFile:
    """Open an uncompressed tar; UserError if it is none."""
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except tarfile.TarError as error:
        raise UserError(f"{name} is no tar, or is cut short ({error}); {FIX}") from error


def regular_files(tar: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of a tar, hidden ones left out; UserError if it is cut short or damaged.

    tarfile takes a damaged or missing header for the end; the real end is a block of zeros.
    """
    try:
        for info in tar:
            if info.isreg() and not PurePosixPath(info.name).name.startswith("."):
                yield info
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{name} is cut short or damaged ({error}); {FIX}") from error
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise UserError(f"{name} is cut short or damaged at byte {tar.offset:,}; {FIX}")
