"""Images that a user gives as the source of an evaluation: all are checked before the first is measured."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from bench.core.errors import UserError, counted, listed
from bench.core.files import digest
from bench.core.progress import Progress
from bench.data.given.files import GivenFiles
from bench.data.given.pixels import LOSSY, OddImageError, Pixels, decode_exactly
from bench.data.given.placing import Wanted, placed
from bench.data.given.rows import rows_of
from bench.data.kinds import described
from bench.evaluation.image_source import Generated, ImageSource, classes_of
from bench.task.base import PreparedTask

KEPT_BYTES = 2**30
"""Decoded images up to this size together stay in memory; more are decoded again when they are measured."""
AT_ONCE = 64
"""Number of images that are decoded together."""
THREADS = 4
"""Threads that decode: Pillow works outside of Python's lock."""


class GivenImages(ImageSource):
    """Images from files, one for each sample of the first repetition, or of all."""

    protocol_noise = False
    seeded = False
    sha256: str
    """Hash of all pixels, in order: equal for a folder, a zip and a webdataset of equal images."""
    formats: dict[str, int]
    """The number of images of each format."""
    repeated: int
    """The number of images with the same pixels as an earlier one; they are measured like all others."""

    def __init__(
        self, files: GivenFiles, manifest: Path | None, prepared: PreparedTask, progress: Progress
    ) -> None:
        """Place and decode all images. Raises UserError with counts and names for all that is wrong."""
        self.prepared = prepared
        self.protocol = prepared.task.protocol
        self.files = files
        wanted = wanted_of(prepared)
        if files.skipped:
            progress.note(f"{len(files.images):,} images found in {files.path}, {described(files.skipped)}")
        self._names = placed(list(self.files.images), rows_of(self.files, manifest), wanted)
        self.repetitions = len(self._names) // wanted.samples
        self._kept: list[np.ndarray] | None = None
        self._check(progress)

    @property
    def lossy(self) -> bool:
        """Whether a format is lossy, so that the pixels may not be those that the model made."""
        return any(name in self.formats for name in LOSSY)

    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        first, indices = repetition * self.protocol.samples, torch.arange(start, stop)
        prompts = self.prepared.prompts_of(indices)
        return Generated(
            images=torch.from_numpy(np.stack(self._levels(first + start, first + stop))),
            conditions=None if prompts else classes_of(self.prepared, repetition, indices),
            indices=indices,
            prompts=prompts,
            finite=True,
        )

    def _levels(self, start: int, stop: int) -> Sequence[np.ndarray]:
        """Return images of these numbers, as they were when they were checked."""
        if self._kept is not None:
            return self._kept[start:stop]
        found = [decode_exactly(self.files.images[name](), self._shape) for name in self._names[start:stop]]
        for number, pixels in enumerate(found, start):
            if _sha256(pixels) != self._hashes[number]:
                raise UserError(f"{self._names[number]} has changed since it was checked; fix: run again")
        return [pixels.levels for pixels in found]

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.prepared.task.image_shape

    def _check(self, progress: Progress) -> None:
        """Decode all images, and take their hash. Raises UserError that names those which cannot be measured."""
        odd: dict[str, list[str]] = defaultdict(list)
        self.formats, self._hashes = Counter[str](), list[str]()
        kept: list[np.ndarray] | None = [] if len(self._names) * np.prod(self._shape) <= KEPT_BYTES else None
        with progress.bar(f"images of {self.files.path.name}", len(self._names)) as bar:
            for name, pixels in self._decoded():
                bar.advance()
                if isinstance(pixels, OddImageError):
                    odd[pixels.kind].append(f"{name} ({pixels.detail})")
                    continue
                self.formats[pixels.format] += 1
                self._hashes.append(_sha256(pixels))
                if kept is not None:
                    kept.append(pixels.levels)
        if odd:
            parts = "; ".join(f"{len(names):,} {kind}: {listed(names)}" for kind, names in odd.items())
            raise UserError(
                f"{counted(sum(map(len, odd.values())), 'image')} of {len(self._names):,} cannot be measured as "
                f"they are: {parts}; fix: write them again as 8-bit PNG of the protocol's size, without resizing"
            )
        self._kept = kept
        counts = Counter(self._hashes)
        self.repeated = len(self._hashes) - len(counts)
        if self.repeated:
            again = [name for name, one in zip(self._names, self._hashes, strict=True) if counts[one] > 1]
            progress.note(
                f"{len(again):,} images have the pixels of another one, and are measured: {listed(again)}"
            )
        self.formats = dict(sorted(self.formats.items()))
        self.sha256 = digest(["images", list(self._shape), self._hashes])

    def _decoded(self) -> Iterator[tuple[str, Pixels | OddImageError]]:
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(self._names), AT_ONCE):
                names = self._names[start : start + AT_ONCE]
                yield from zip(names, pool.map(self._decode, names), strict=True)

    def _decode(self, name: str) -> Pixels | OddImageError:
        try:
            return decode_exactly(self.files.images[name](), self._shape)
        except OddImageError as error:
            return error


def wanted_of(prepared: PreparedTask) -> Wanted:
    """Return the images that a prepared task's protocol measures."""
    protocol = prepared.task.protocol
    indices = torch.arange(protocol.samples)
    prompts = prepared.prompts_of(indices)

    def labels() -> list[int]:
        if prompts:
            return []
        parts = [classes_of(prepared, repetition, indices) for repetition in range(protocol.repetitions)]
        return [int(label) for label in torch.cat(parts).tolist()]

    names: dict[str, int] = {}
    if not prompts:
        conditions = prepared.conditions(indices).cpu()
        known = prepared.condition_names(indices, conditions)
        names = dict(zip(known, map(int, conditions.tolist()), strict=True)) if known else {}
    return Wanted(protocol.samples, protocol.repetitions, protocol.images_per_prompt, prompts, labels, names)


def _sha256(pixels: Pixels) -> str:
    return hashlib.sha256(pixels.levels.tobytes()).hexdigest()
