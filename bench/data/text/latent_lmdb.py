"""Read latents with captions from the official DMD2 release: raw arrays in an LMDB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.lmdbs import ReadOnlyLMDB
from bench.data.plain import text_of
from bench.data.text.captioned import Captioned

BYTES_EACH = 2


class LatentLMDB(Captioned[np.ndarray]):
    """Keys `latents_{i}_data` (float16 CHW, times the VAE's scaling factor), `prompts_{i}_data`, `latents_shape`.

    Each latent is one draw from the posterior of its image. Source: official-dmd2, 2.8.
    """

    format = "latent LMDB"
    shape: tuple[int, ...]
    """The shape of one item, [C, H, W]."""

    def __init__(self, path: Path) -> None:
        """Open the folder or file and read all captions. Raises UserError if damaged or of another layout."""
        self._lmdb = ReadOnlyLMDB(path)
        try:
            with self._lmdb.reading() as values:
                shape = values.shape("latents")
                if len(shape) != 4:
                    raise UserError(
                        f"{path}: latents_shape is {shape}, not (N, C, H, W); fix: use the latent LMDB"
                    )
                self.shape = shape[1:]
                keys = (f"prompts_{i}_data" for i in range(shape[0]))
                captions = [text_of(bytes(values.of(key)), f"{path}: {key}") for key in keys]
                # The first latent suffices to distinguish other VAEs and other draws of the same captions.
                first = hashlib.sha256(values.of("latents_0_data") if captions else b"").hexdigest()
            super().__init__(path, captions, digest([list(shape), captions, first]))
        except BaseException:
            self.close()
            raise

    def name(self, index: int) -> str:
        """Return the LMDB and the key in it."""
        return f"{self.path}: latents_{index}_data"

    def read(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield latents `start` ... `stop - 1`, each float16 [C, H, W]."""
        with self._lmdb.reading() as values:
            for index in range(start, stop):
                value = values.of(f"latents_{index}_data", int(np.prod(self.shape)) * BYTES_EACH)
                yield np.frombuffer(bytes(value), "<f2").reshape(self.shape)

    def close(self) -> None:
        """Unmap the file."""
        self._lmdb.close()
