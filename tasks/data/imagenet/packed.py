"""Packed images: one memory-mapped array, read at random by training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from tasks.errors import UserError
from tasks.files import file_sha256

IMAGES, LABELS, MANIFEST = "images.npy", "labels.npy", "manifest.json"
RESOLUTION = 64
IMAGE_SHAPE = (3, RESOLUTION, RESOLUTION)


class SourceRecord(BaseModel):
    """What the images were packed from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    name: str
    """Of the file or folder, without where it was."""
    bytes: int | None
    """Size of the file; None for a folder."""
    index_sha256: str
    """Hash of the images' names (and sizes or checksums, where the source has them at hand)."""


class Manifest(BaseModel):
    """What a folder of packed images holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    count: int
    resolution: int
    crop: str
    """The crop rule, or "none" where every image had the resolution already."""
    cropped: int
    """How many images had not."""
    rgb: str
    decoder: str
    """Libraries whose versions decide the pixels."""
    class_names: list[str] | None
    class_counts: list[int]
    source: SourceRecord
    sha256: dict[str, str]
    """Of the files images.npy and labels.npy, as `sha256sum` prints them."""


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Images and labels of one folder; the images stay on disk until they are asked for."""

    folder: Path
    images: np.ndarray
    """[N, 3, 64, 64] uint8, read-only, memory-mapped."""
    labels: np.ndarray
    """[N] int64."""
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """Copy the images at `indices` [B] into a new uint8 tensor [B, 3, 64, 64].

        Raises IndexError at an index outside -N ... N - 1.
        """
        # A plain view: np.memmap's own indexing costs more than the copy.
        return torch.from_numpy(np.asarray(self.images).take(np.asarray(indices), axis=0))

    def verify(self) -> None:
        """Hash both files. Raises UserError if one is not what the manifest says."""
        for name, expected in self.manifest.sha256.items():
            found = file_sha256(self.folder / name)
            if found != expected:
                raise UserError(
                    f"{self.folder / name} has changed: its SHA-256 is {found}, its manifest says {expected}; "
                    f"mend: delete {self.folder} and prepare again"
                )

    def __reduce__(self) -> tuple[Callable[[Path], PackedImages], tuple[Path]]:
        """Send the folder, not 15 GB of pixels, to a worker process."""
        return open_packed, (self.folder,)


def open_packed(folder: Path) -> PackedImages:
    """Open a folder that `pack` wrote; costs milliseconds, reads no image and checks no hash.

    Raises UserError if the folder is none, or if a file is missing, cut short or of another shape.
    """
    mend = f"mend: delete {folder} and prepare again"
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no {MANIFEST}: not a folder of packed images; {mend}") from None
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path} is damaged ({detail}); {mend}") from None
    images = _array(folder / IMAGES, np.uint8, (manifest.count, *IMAGE_SHAPE), mend)
    labels = _array(folder / LABELS, np.int64, (manifest.count,), mend)
    return PackedImages(folder, images, np.array(labels), manifest)


def _array(path: Path, dtype: type, shape: tuple[int, ...], mend: str) -> np.ndarray:
    """Map one .npy file read-only and check what its header says."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing, cut short or damaged ({error}); {mend}") from None
    if array.dtype != dtype or array.shape != shape:
        raise UserError(f"{path} is {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}; {mend}")
    return array
