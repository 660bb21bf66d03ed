"""Read LMDBs of the official DMD2 release safely: raw arrays, one key for each item."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.extras import optional_module
from bench.core.files import regular_file
from bench.core.safe_pickle import shown

MAGIC = (0xBEEFC0DE).to_bytes(4, "little")
MAGIC_OFFSET = 16
"""Position of the magic number, after the page header."""
DATA_FILE = "data.mdb"
FIX = "fix: download or copy it again"


class ReadOnlyLMDB:
    """An LMDB that is opened for reading. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Map the folder or file. Raises UserError if it is not an LMDB or is cut short."""
        lmdb = optional_module("lmdb", "reading an LMDB", "imagenet")
        self.path = path
        file = regular_file(path / DATA_FILE if path.is_dir() else path)
        try:
            self._environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, create=False
            )
        except (lmdb.Error, OSError, MemoryError) as error:
            raise UserError(f"{path} is not an LMDB or is cut short ({error}); {FIX}") from error
        try:
            self._check_length(file)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Values]:
        """Open a transaction and yield its values; they are valid until the end of the block."""
        lmdb = optional_module("lmdb", "reading an LMDB", "imagenet")
        try:
            with self._environment.begin(buffers=True) as transaction:
                yield Values(transaction, self.path)
        except lmdb.Error as error:
            raise UserError(f"{self.path} is damaged ({error}); {FIX}") from error

    def close(self) -> None:
        """Unmap the file."""
        self._environment.close()

    def _check_length(self, file: Path) -> None:
        """Compare the file's length with its header: reading a mapped page beyond the end kills the process."""
        needed = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        length = file.stat().st_size
        if length < needed:
            raise UserError(f"{file} is cut short: it has {length:,} bytes, its header says {needed:,}; {FIX}")


class Values:
    """The values of an LMDB during one transaction."""

    def __init__(self, transaction: Any, path: Path) -> None:
        self._transaction = transaction
        self._path = path

    def of(self, key: str, length: int | None = None) -> memoryview:
        """Return a value. Raises UserError if it is missing or has another length than `length` bytes."""
        value: memoryview | None = self._transaction.get(key.encode())
        if value is None or length not in (None, len(value)):
            problem = "is missing" if value is None else f"has {len(value)} bytes, not {length}"
            raise UserError(f"{self._path}: {key} {problem}; {FIX}")
        return value

    def shape(self, kind: str) -> tuple[int, ...]:
        """Parse `{kind}_shape`: dimensions in decimal, with spaces between them, the number of items first."""
        value = self._transaction.get(f"{kind}_shape".encode())
        try:
            shape = tuple(int(dimension) for dimension in bytes(value or b"").split())
        except ValueError:
            shape = ()
        if not shape or min(shape) < 0:
            stored = "is missing" if value is None else f"is {shown(repr(bytes(value)))}"
            raise UserError(f"{self._path}: the key {kind}_shape {stored}, so it is not the official LMDB; {FIX}")
        return shape
