"""The batch of images that feature extractors read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from bench.features.views import Features

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
