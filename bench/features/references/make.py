"""References of real images; one function makes them in any feature space, from any source of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from bench.core.errors import UserError
from bench.core.made import made_once
from bench.core.progress import Progress
from bench.data.altered import Decoded, described_altered
from bench.data.source import ItemSource
from bench.features.batch import Extract, ImageBatch, features_by
from bench.features.preprocess import square
from bench.features.references.store import (
    Description,
    ReferenceStatistics,
    checked_reference,
    load_reference,
    save_reference,
)
from bench.features.statistics import GaussianStatistics, mean_and_covariance, row_blocks
from bench.features.views import NO_PATCH, Features


@dataclass(frozen=True)
class RealImages:
    """Real images in batches, and their source."""

    source: str
    """Name of the file, folder or data set."""
    source_sha256: str
    count: int
    batches: Callable[[], Iterator[ImageBatch]]
    """A function that begins a pass over all of them."""
    crop: str | None = None
    """The crop and resize that they went through, if known."""
    altered: Counter[str] = field(default_factory=Counter)
    """Images by what was changed in them beyond the crop (bench.data.altered), counted in the last pass."""


@dataclass(frozen=True)
class FeatureSpace:
    """A loaded feature extractor, with the name of its network."""

    network: str
    extract: Extract


def array_images(stack: np.ndarray, source: str, source_sha256: str, batch_size: int = 200) -> RealImages:
    """Return the images of an array [N, C, H, W] uint8, which may be a memory map."""

    def batches() -> Iterator[ImageBatch]:
        for rows in row_blocks(len(stack), batch_size):
            yield ImageBatch(torch.from_numpy(np.array(stack[rows])))

    return RealImages(source, source_sha256, len(stack), batches)


def folder_images(files: ItemSource[Decoded], side: int, note: str = "", batch_size: int = 32) -> RealImages:
    """Return the images of files, whose centre squares are resized to `side` pixels with LANCZOS.

    `note` is added to the description of their crop.
    """

    altered = Counter[str]()

    def batches() -> Iterator[ImageBatch]:
        altered.clear()
        for rows in row_blocks(len(files), batch_size):
            originals = []
            for decoded in files.read(rows.start, rows.stop):
                altered.update(decoded.altered_at(side))
                originals.append(torch.from_numpy(np.array(decoded.image)).permute(2, 0, 1)[None])
            yield ImageBatch(torch.cat([square(image, side) for image in originals]), originals=originals)

    crop = "; ".join(part for part in (f"centre square, {side} px", note) if part)
    return RealImages(files.path.name, files.index_sha256, len(files), batches, crop, altered)


def make_references(
    images: RealImages, spaces: Mapping[str, FeatureSpace], name: str, progress: Progress, keep: int | None = None
) -> dict[str, ReferenceStatistics]:
    """Make references of real images in all of these feature spaces, in one pass.

    The keys of `spaces` are suffixes of the reference's name ("" is the main one). `keep` is the number of images
    whose main features are stored one by one; they are evenly spaced, because sets are often sorted by class.
    None stores all features of all images, and computes the statistics from them. Raises UserError with fewer
    than two images.
    """
    if images.count < 2:
        raise UserError(
            f"{images.source} has {images.count} images, and a covariance takes at least 2; fix: name more images"
        )
    gathered = {suffix: (_Rows() if keep is None else _Sums()) for suffix in spaces}
    is_kept = np.zeros(images.count, bool)
    is_kept[np.linspace(0, images.count - 1, min(keep or 0, images.count)).round().astype(int)] = True
    kept: list[np.ndarray] = []
    done = 0
    with progress.bar(f"reference {name}", images.count) as bar:
        for batch in images.batches():
            for suffix, space in spaces.items():
                features = features_by(space.network, space.extract, batch)
                gathered[suffix].update(features)
                if keep and not suffix:
                    kept.append(features.features[is_kept[done : done + len(batch)]].astype(np.float32))
            done += len(batch)
            bar.advance(len(batch))
    if note := described_altered(images.altered, images.count, f"images of {images.source}"):
        progress.note(note)
    made = {}
    for suffix, space in spaces.items():
        found = gathered[suffix]
        mean, cov = found.statistics()
        about = Description(
            name + suffix, space.network, found.count, images.crop, images.source, images.source_sha256
        )
        about = replace(about, fallbacks=found.without_patch, altered=dict(+images.altered))
        rows = np.concatenate(kept) if keep and not suffix else found.rows()
        made[suffix] = checked_reference(mean, cov, about, images.source, rows)
    return made


def kept_references(
    images: RealImages,
    spaces: Mapping[str, FeatureSpace],
    name: str,
    store: Path,
    progress: Progress,
    keep: int | None = None,
) -> dict[str, ReferenceStatistics]:
    """Return the references of `make_references` from the folder `store`; they are made only if missing."""
    folder = store / name
    with made_once(folder) as missing:
        if missing or not all((store / (name + suffix)).is_dir() for suffix in spaces):
            made = make_references(images, spaces, name, progress, keep)
            for suffix in sorted(made, reverse=True):  # the one without a suffix marks the end, and is last
                save_reference(made[suffix], store)
    return {suffix: load_reference(store, name + suffix) for suffix in spaces}


class _Gathered(ABC):
    """The accumulated features of a pass over real images."""

    without_patch: int | None = None
    """Images that were too small for a patch; None where the extractor does not count them."""

    def update(self, features: Features) -> None:
        """Add the features of a batch."""
        self.add(features.features)
        if NO_PATCH in features.scores:
            self.without_patch = (self.without_patch or 0) + int(features.scores[NO_PATCH].sum())

    @abstractmethod
    def add(self, rows: np.ndarray) -> None:
        """Add rows [n, D]."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of rows so far."""

    @abstractmethod
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean [D] and covariance [D, D]."""

    @abstractmethod
    def rows(self) -> np.ndarray | None:
        """Return all rows, or None if they are not stored."""


class _Rows(_Gathered):
    """All rows, in memory."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        self._parts.append(rows.astype(np.float32))

    @property
    def count(self) -> int:
        return sum(map(len, self._parts))

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        return mean_and_covariance(self.rows())

    def rows(self) -> np.ndarray:
        return np.concatenate(self._parts)


class _Sums(_Gathered):
    """Float64 sums, whose size does not depend on the number of images."""

    _sums: GaussianStatistics | None = None

    def add(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64)
        if self._sums is None:
            self._sums = GaussianStatistics(rows.shape[1])
        self._sums.update(rows)

    @property
    def count(self) -> int:
        return self._sums.count if self._sums else 0

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        assert self._sums is not None
        return self._sums.mean, self._sums.covariance

    def rows(self) -> None:
        return None
