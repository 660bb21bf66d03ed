"""What a feature extractor gives of images: features and scores. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.core.errors import UserError

NO_PATCH = "no_patch"
"""Score [n], bool, of an extractor of patches: images too small to have one, which were squashed or padded."""


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor gives of n images. Metrics keep the arrays as they are; do not write to them later."""

    features: np.ndarray
    """[n, D], float32 or float64; D is 0 where an extractor only scores."""
    logits: np.ndarray | None = None
    """[n, classes]: what the network says of each class before its softmax, if it classifies."""
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Figures by name, each [n], or one for every group of images that share a prompt: higher is more of it."""

    def __post_init__(self) -> None:
        check_features(self.features, "the generated images")
        n = len(self.features)
        if self.logits is not None and (self.logits.ndim != 2 or len(self.logits) != n):
            raise ValueError(f"{n} feature rows need logits [{n}, classes], got {list(self.logits.shape)}")
        for name, values in self.scores.items():
            if values.ndim != 1 or len(values) > n:
                raise ValueError(f"{n} images need at most {n} scores {name!r}, got {list(values.shape)}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.features)


def check_features(features: np.ndarray, whose: str) -> None:
    """Raise ValueError unless these are float features [n, D]; UserError if they are not finite."""
    if features.ndim != 2 or features.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"features of {whose} must be float32 or float64 [n, D], got {features.dtype} {list(features.shape)}"
        )
    if not np.isfinite(features).all():
        raise UserError(f"features of {whose} are not all finite; the images hold NaN or infinities")
