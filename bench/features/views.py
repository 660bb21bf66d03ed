"""The output of feature extractors: features and scores. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.core.errors import UserError

SMALLEST, LARGEST = 2.0**-149, float(np.finfo(np.float32).max)
"""The sizes that float32 has. Beyond them float64 loses the squares of features, or their sixth powers in KID."""
FLOATS = "float32 or float64"
NO_PATCH = "no_patch"
"""Name of a score [n], bool: images that were too small for a patch, and were squashed or padded."""


class FormError(ValueError):
    """An extractor's output has another form than `Features` declares."""


@dataclass(frozen=True, eq=False)
class Features:
    """An extractor's output for n images. Metrics keep the arrays without copying; do not write to them later."""

    features: np.ndarray
    """[n, D], float32 or float64: float16 has three digits. D is 0 where an extractor only scores."""
    logits: np.ndarray | None = None
    """[n, classes]: the network's output before the softmax, if it is a classifier."""
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Numbers by name, each [n], or one for every group of images that share a prompt; higher is more."""
    reasons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """In words, why the scores of a name are what they are: one for each score; empty: nothing to say."""

    def __post_init__(self) -> None:
        check_features(self.features, "the generated images")
        n = len(self.features)
        if self.logits is not None and (not _is_table(self.logits) or len(self.logits) != n):
            raise FormError(f"logits of {n} images must be {FLOATS} [{n}, classes], got {_form(self.logits)}")
        for name, values in self.scores.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
                raise FormError(f"scores {name!r} must be an array of NumPy's numbers, got {_form(values)}")
            if values.ndim != 1 or len(values) > n:
                raise FormError(f"scores {name!r} of {n} images must be at most {n}, got {list(values.shape)}")
        for name, reasons in self.reasons.items():
            if len(reasons) != len(self.scores.get(name, ())):
                raise FormError(f"there are {len(reasons)} reasons for {len(self.scores.get(name, ()))} {name!r}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.features)


def check_features(features: np.ndarray, whose: str) -> None:
    """Raise FormError unless these are float features [n, D]; UserError unless float32 can hold their size."""
    if not _is_table(features):
        raise FormError(f"features of {whose} must be {FLOATS} [n, D], got {_form(features)}")
    if not np.isfinite(features).all():
        raise UserError(
            f"features of {whose} are not all finite, and images of 8 bits are: their extractor makes NaN or "
            "infinities of them; fix: bench weights check"
        )
    # Float32 has no other sizes; all zero is a size, which metrics that need a direction refuse.
    size = float(np.abs(features).max(initial=0)) if features.dtype == np.float64 else 0.0
    if size > LARGEST or 0 < size < SMALLEST:
        raise UserError(
            f"features of {whose} are of the size {size:.3g}, and their squares are lost in rounding or overflow; "
            f"fix: let their extractor return float32, which is from {SMALLEST:.2g} to {LARGEST:.2g}"
        )


def _is_table(values: object) -> bool:
    return isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype in (np.float32, np.float64)


def _form(values: object) -> str:
    """Return the type and shape of an array, or the type of what is none."""
    return f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__


def checked_rows(extractor: str, found: object, images: int) -> Features:
    """Return what an extractor gave for `images` images, with a row for each of them, or several for patches.

    Raises UserError that names the extractor, which may be a plug-in's, if it gave anything else.
    """
    if not isinstance(found, Features):
        raise UserError(
            f"feature extractor {extractor!r} returned {type(found).__name__}; fix: return a Features "
            "(bench.features.views)"
        )
    if len(found) < images or len(found) % images:
        raise UserError(
            f"feature extractor {extractor!r} returned {len(found)} rows for {images} images; fix: return one for "
            "each image, in their order"
        )
    return found
