"""The batch of images that feature extractors read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from bench.core.errors import UserError
from bench.features.views import Features, FormError, checked_rows

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images that all extractors read, with the conditions they were generated for; real images have none."""

    images: Tensor
    """uint8 [B, C, H, W], on the CPU."""
    conditions: Tensor | None = None
    """The conditions that the images were generated for, [B, ...]."""
    indices: Tensor | None = None
    """Global sample indices, [B]."""
    prompts: Sequence[str] = ()
    """One prompt for each image, where the task has prompts."""
    originals: Sequence[Tensor] = ()
    """Real images before they were cropped to one size: uint8 [1, 3, H, W] each."""
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return `make()`, which is evaluated once for each `key`, so that extractors share crops and networks."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


Extract = Callable[[ImageBatch], Features]
"""A loaded feature extractor: a function from a batch of images to their features and scores."""


def features_by(extractor: str, extract: Extract, batch: ImageBatch) -> Features:
    """Return what a loaded extractor, which may be a plug-in's, gives for a batch.

    Raises UserError that names it if it is no function, returns anything else than a row for each image, in arrays
    of another form than `Features` declares, or writes into the images: all extractors read the same ones.
    """
    if not callable(extract):
        raise UserError(
            f"feature extractor {extractor!r} was loaded as {type(extract).__name__}; "
            "fix: let its load() return a function of a batch"
        )
    before = batch.once(_checksum, lambda: _checksum(batch))
    try:
        found = checked_rows(extractor, extract(batch), len(batch))
    except FormError as error:
        raise UserError(
            f"feature extractor {extractor!r}: {error}; fix: return NumPy's arrays of these forms, of a tensor "
            "values.float().cpu().numpy()"
        ) from error
    if _checksum(batch) != before:
        raise UserError(
            f"feature extractor {extractor!r} changed the batch's images, which other extractors read, too; "
            "fix: let it work on a copy, batch.images.clone()"
        )
    return found


def _checksum(batch: ImageBatch) -> int:
    """Return a checksum of all pixels, which takes a millisecond for a million of them."""
    checksum = 0
    for images in (batch.images, *batch.originals):
        checksum = zlib.crc32(images.contiguous().numpy().data, checksum)
    return checksum
