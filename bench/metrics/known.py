"""Known answers: small sets on which a metric's value is known, so that an installation can be tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.features.views import Features

ROUNDING = 1e-9
"""The difference that float64 arithmetic in another order may make, with room; float32 makes 1e-8 and more."""


@dataclass(frozen=True, eq=False)
class KnownAnswer:
    """A set with a metric's value on it, from a closed form or another package, that `bench metrics check` tests.

    A metric gives its own in `Metric.known_answers`; they read no files and take less than a second.
    """

    case: str
    """In words: the set, and why its value is known."""
    expected: float
    generated: Sequence[Features]
    """What the extractor gives for the generated images, in batches."""
    real: np.ndarray | None = None
    """Features [m, D] of the real images, if the metric compares with them."""
    tolerance: float = ROUNDING
    """The greatest absolute difference from `expected` that is right."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the protocol that the value depends on, such as `neighbours` or `images_per_prompt`."""

    @classmethod
    def of_features(
        cls,
        case: str,
        expected: float,
        generated: np.ndarray,
        real: np.ndarray | None = None,
        tolerance: float = ROUNDING,
        **protocol: Any,
    ) -> KnownAnswer:
        """Return the answer for features [n, D] against real ones [m, D]; the first image is a batch."""
        return cls(
            case, expected, [Features(part) for part in np.split(generated, [1])], real, tolerance, protocol
        )

    @classmethod
    def of_scores(
        cls, case: str, expected: float, *batches: Mapping[str, Sequence[float]], **protocol: Any
    ) -> KnownAnswer:
        """Return the answer for batches of scores by name, one score for each image."""
        given = []
        for batch in batches:
            scores = {name: np.asarray(values) for name, values in batch.items()}
            given.append(Features(np.zeros((max(map(len, scores.values())), 0)), scores=scores))
        return cls(case, expected, given, protocol=protocol)
