"""Packed images: one memory-mapped array that training reads in random order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from bench.data.packed_folder import SourceRecord, open_array, read_manifest, verify

IMAGES, LABELS = "images.npy", "labels.npy"
RESOLUTION = 64
IMAGE_SHAPE = (3, RESOLUTION, RESOLUTION)


class Manifest(BaseModel):
    """The manifest of a folder of packed images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    count: int
    resolution: int
    crop: str
    """The crop rule, or "none" if every image had the resolution already."""
    cropped: int
    """Number of images that were cropped."""
    altered: dict[str, int] = {}
    """Number of images by what was changed in them beyond the crop (bench.data.altered)."""
    rgb: str
    decoder: str
    """Libraries whose versions decide the pixels."""
    class_names: list[str] | None
    class_counts: list[int]
    source: SourceRecord
    sha256: dict[str, str]
    """Hashes of images.npy and labels.npy, as `sha256sum` prints them."""


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
        # A plain array: np.memmap's own indexing costs more than the copy.
        return torch.from_numpy(np.asarray(self.images).take(np.asarray(indices), axis=0))

    def verify(self) -> None:
        """Hash both files. Raises UserError if one differs from the manifest."""
        verify(self.folder, self.manifest.sha256)

    def __reduce__(self) -> tuple[Callable[[Path], PackedImages], tuple[Path]]:
        """Pickle the path of the folder and not 15 GB of pixels, for worker processes."""
        return open_packed, (self.folder,)


def open_packed(folder: Path) -> PackedImages:
    """Open a folder that `pack` wrote; costs milliseconds, reads no image and checks no hash.

    Raises UserError if it is no such folder, or if a file is missing, cut short or of another shape.
    """
    manifest = read_manifest(folder, Manifest, "packed images")
    images = open_array(folder / IMAGES, np.uint8, (manifest.count, *IMAGE_SHAPE))
    labels = open_array(folder / LABELS, np.int64, (manifest.count,))
    return PackedImages(folder, images, np.array(labels), manifest)
