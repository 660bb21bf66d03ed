"""What a torch checkpoint may be as a file, judged before torch opens it: no bombs of any kind."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import human_size
from bench.core.safe_pickle import refuse_opcodes

MAX_PICKLE = 256 << 20
"""Bytes of the names and shapes of a checkpoint; those of SDXL's network are a quarter of a mebibyte."""
OLD_PICKLES = 5
"""Pickles of a file from before torch 1.6: a number, a version, the machine, the names, and the storages."""


def check_torch_file(path: Path) -> None:
    """Raise UserError or what zipfile and pickletools raise for a torch file that is damaged or a bomb.

    torch compresses nothing, so a member that is compressed is refused whatever it would expand to.
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
