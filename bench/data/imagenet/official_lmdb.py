"""Read ImageNet-64 from the official DMD2 release: raw arrays in an LMDB, one key for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.altered import Decoded
from bench.data.imagenet.source import Source
from bench.data.lmdbs import FIX, ReadOnlyLMDB

IMAGE_SHAPE = (3, 64, 64)


class OfficialLMDB(Source):
    """Keys `images_{i}_data` (uint8 CHW), `labels_{i}_data` (int64), `images_shape`, `labels_shape` (N first)."""

    format = "LMDB"

    def __init__(self, path: Path) -> None:
        """Open the folder or file and read all labels. Raises UserError if it is damaged or of another layout."""
        self._lmdb = ReadOnlyLMDB(path)
        try:
            with self._lmdb.reading() as values:
                shape, label_shape = values.shape("images"), values.shape("labels")
                if shape[1:] != IMAGE_SHAPE:
                    raise UserError(
                        f"{path}: images_shape is {shape}, not (N, 3, 64, 64); fix: use the 64x64 LMDB"
                    )
                if label_shape[0] != shape[0]:
                    raise UserError(f"{path} has {shape[0]} images but {label_shape[0]} labels; {FIX}")
                labels = b"".join(values.of(f"labels_{i}_data", 8) for i in range(shape[0]))
        except BaseException:
            self.close()
            raise
        super().__init__(path, np.frombuffer(labels, "<i8").astype(np.int64), digest(list(shape)))

    def name(self, index: int) -> str:
        """Return the LMDB and the key in it."""
        return f"{self.path}: images_{index}_data"

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        with self._lmdb.reading() as values:
            for index in range(start, stop):
                value = values.of(f"images_{index}_data", int(np.prod(IMAGE_SHAPE)))
                pixels = np.frombuffer(value, np.uint8).reshape(IMAGE_SHAPE)
                yield Decoded(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))

    def close(self) -> None:
        """Unmap the file."""
        self._lmdb.close()
