"""Labelled images in memory, identified by a hash of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from bench.core.files import canonical_json


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with one class each; two sets are the same if their hashes are. Raises ValueError if malformed."""

    images: np.ndarray
    """[N, C, H, W] uint8 grey levels, 0..255."""
    labels: np.ndarray
    """[N] int64 classes, from 0."""
    sha256: str = field(init=False)
    """SHA-256 of the shapes, the images and the labels, as 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be [N, C, H, W] uint8, not {self.images.shape} {self.images.dtype}")
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise ValueError(f"labels must be [N] int64, not {self.labels.shape} {self.labels.dtype}")
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        if self.images.size == 0:
            raise ValueError(f"there are no pixels in images of shape {self.images.shape}")
        if self.labels.min() < 0:
            raise ValueError(f"labels must not be negative: {self.labels.min()}")
        object.__setattr__(self, "sha256", _sha256(self.images, self.labels))

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> LabelledImages:
        """Build from `images` [N, C, H, W] uint8 and `labels` [N] int64: make them contiguous and hash them."""
        return cls(np.ascontiguousarray(images), np.ascontiguousarray(labels))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """The images for training teacher and student, and the held-out images that only the evaluation uses."""

    train: LabelledImages
    held_out: LabelledImages
    source: str
    """The package or folder that the images come from. It is not part of any hash."""

    def __post_init__(self) -> None:
        if self.train.images.shape[1:] != self.held_out.images.shape[1:]:
            raise ValueError(
                f"image shapes differ: train {self.train.images.shape[1:]}, "
                f"held-out {self.held_out.images.shape[1:]}"
            )


def _sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """Hash shapes, then pixels, then labels as little-endian 64-bit integers, whatever the machine."""
    shapes = {"images": list(images.shape), "labels": list(labels.shape)}
    hasher = hashlib.sha256(canonical_json(shapes).encode())
    hasher.update(images.tobytes())
    hasher.update(labels.astype("<i8").tobytes())
    return hasher.hexdigest()
