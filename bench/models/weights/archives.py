"""Check a torch checkpoint as a file before torch opens it, and refuse archives that expand to fill the memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import human_size
from bench.core.safe_pickle import refuse_opcodes

MAX_PICKLE = 256 << 20
"""Largest pickle of names and shapes in a checkpoint, in bytes; that of SDXL's network has 256 KiB."""
OLD_PICKLES = 5
"""Number of pickles in a file from before torch 1.6: a number, a version, the machine, the names, the storages."""


def check_torch_file(path: Path) -> None:
    """Refuse a torch file that is damaged or that expands to more than its own size.

    torch never compresses, so every compressed member is refused. Raises UserError, or whatever zipfile and
    pickletools raise for damage.
    """
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            _check_zip(file, path)
            return
        file.seek(0)
        for _ in range(OLD_PICKLES):
            refuse_opcodes(file, rewind=False)


def _check_zip(file: io.BufferedReader, path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
                raise UserError(f"{member.filename[:80]!r} in it is compressed, and torch compresses nothing")
            if member.filename.endswith(".pkl"):
                if member.file_size > MAX_PICKLE:
                    raise UserError(f"{member.filename[:80]!r} in it has {human_size(member.file_size)}")
                refuse_opcodes(io.BytesIO(archive.read(member)))
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise UserError("its members overlap")
