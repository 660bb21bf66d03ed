"""ImageNet-64 as the official DMD2 release ships it: raw arrays in an LMDB, one key for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.data.imagenet.source import Source, optional_module
from tasks.errors import UserError
from tasks.files import digest

IMAGE_SHAPE = (3, 64, 64)
MAGIC = (0xBEEFC0DE).to_bytes(4, "little")
MAGIC_OFFSET = 16
"""After the page header."""
DATA_FILE = "data.mdb"
MEND = "mend: download or copy it again"


class OfficialLMDB(Source):
    """Keys `images_{i}_data` (uint8 CHW), `labels_{i}_data` (int64), `images_shape`, `labels_shape` (N first)."""

    format = "LMDB"

    def __init__(self, path: Path) -> None:
        """Open the folder or file and read all labels. Raises UserError if damaged or of another layout."""
        lmdb = optional_module("lmdb", "reading an LMDB")
        self.path = path
        try:
            self._environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, create=False
            )
        except lmdb.Error as error:
            raise UserError(f"{path} is no LMDB, or is cut short ({error}); {MEND}") from error
        try:
            self._check_length(path / DATA_FILE if path.is_dir() else path)
            with self._environment.begin(buffers=True) as transaction:
                shape, label_shape = (_shape(transaction, kind, path) for kind in ("images", "labels"))
                if shape[1:] != IMAGE_SHAPE:
                    raise UserError(
                        f"{path}: images_shape is {shape}, not (N, 3, 64, 64); mend: use the 64x64 LMDB"
                    )
                if label_shape[0] != shape[0]:
                    raise UserError(f"{path} has {shape[0]} images but {label_shape[0]} labels; {MEND}")
                labels = [self._value(transaction, f"labels_{i}_data", 8) for i in range(shape[0])]
        except BaseException:
            self.close()
            raise
        super().__init__(path, np.frombuffer(b"".join(labels), "<i8").astype(np.int64), digest(list(shape)))

    def name(self, index: int) -> str:
        """Return the LMDB and the key in it."""
        return f"{self.path}: images_{index}_data"

    def read(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield images `start` ... `stop - 1`."""
        with self._environment.begin(buffers=True) as transaction:
            for index in range(start, stop):
                value = self._value(transaction, f"images_{index}_data", int(np.prod(IMAGE_SHAPE)))
                pixels = np.frombuffer(value, np.uint8).reshape(IMAGE_SHAPE)
                yield Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))

    def close(self) -> None:
        """Unmap the file."""
        self._environment.close()

    def _value(self, transaction: Any, key: str, length: int) -> memoryview:
        value: memoryview | None = transaction.get(key.encode())
        if value is None or len(value) != length:
            problem = "is missing" if value is None else f"has {len(value)} bytes, not {length}"
            raise UserError(f"{self.path}: {key} {problem}; {MEND}")
        return value

    def _check_length(self, file: Path) -> None:
        """Compare the file's length with its header: touching a mapped page beyond the end kills the process."""
        needed = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        length = file.stat().st_size
        if length < needed:
            raise UserError(f"{file} is cut short: it has {length:,} bytes, its header says {needed:,}; {MEND}")


def _shape(transaction: Any, kind: str, path: Path) -> tuple[int, ...]:
    """Parse `images_shape` or `labels_shape`: dimensions in decimal, with spaces between them."""
    value = transaction.get(f"{kind}_shape".encode())
    try:
        shape = tuple(int(dimension) for dimension in bytes(value or b"").split())
    except ValueError:
        shape = ()
    if not shape:
        stored = "is missing" if value is None else f"is {bytes(value)!r}"
        raise UserError(f"{path}: the key {kind}_shape {stored}, so it is not the official LMDB; {MEND}")
    return shape
