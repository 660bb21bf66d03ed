"""Diversity of each prompt's images in a feature space: Vendi score, and mean distance by the cosine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Measured, Reference
from bench.metrics.diversity import Diversity
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded
from bench.metrics.vendi import unit_rows, vendi_score
from bench.task.protocol import Protocol


def mean_cosine_distance(features: np.ndarray) -> float:
    """Return 1 minus the mean cosine of all pairs i < j of features [n, D], n >= 2, in float64: 0 to 2.

    Raises ValueError if an image's features are all zero.
    """
    rows = unit_rows(features)
    n = len(rows)
    # |sum of unit rows|^2 is n plus twice the sum of all pairs' cosines.
    total = rows.sum(axis=0)
    # Rounding makes the distance of equal rows negative.
    return max(float(1 - (total @ total - n) / (n * (n - 1))), 0.0)  # in this order NaN stays NaN


ALIKE_AND_APART = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
"""Features of two prompts' images: two with one direction, and two at right angles."""


class _OfPrompts(Diversity):
    """The mean over prompts of a number that each prompt's features give, with a bootstrap interval."""

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._rest: np.ndarray | None = None

    def update(self, batch: Features) -> None:
        """Add the batch; a prompt counts when its last image has come. Raises UserError if features are zero."""
        rows = batch.features if self._rest is None else np.concatenate([self._rest, batch.features])
        whole = len(rows) // self._size * self._size
        groups = rows[:whole].reshape(-1, self._size, rows.shape[1])
        try:
            values = np.array([self.of_prompt(group) for group in groups])
        except ValueError as error:
            raise UserError(
                f"metric {self.info.name!r}: {error}; fix: take another feature network, or leave it out"
            ) from None
        self._prompts.update(values)
        self._images += len(groups) * self._size
        self._rest = rows[whole:]

    @abstractmethod
    def of_prompt(self, features: np.ndarray) -> float:
        """Return the number of one prompt's features [images, D]. Raises ValueError if a row is zero."""

    def result(self) -> Measured:
        """Return the mean over prompts, and its interval. Raises ValueError if a prompt is incomplete."""
        if self._rest is not None and len(self._rest):
            raise ValueError(f"{len(self._rest)} images are left of a prompt that has {self._size}")
        return super().result()


class PromptVendi(_OfPrompts):
    """The Vendi score of each prompt's images, from 1 to their number."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return a prompt whose images are alike, worth 1, and one whose images are worth 2."""
        return (KnownAnswer.of_features("alike, and apart", 1.5, ALIKE_AND_APART, images_per_prompt=2),)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield also whether the value is above the number of a prompt's images."""
        yield from super().contradictions(info, found)
        yield from found.within(None, found.images_per_prompt, "the images of a prompt")

    def of_prompt(self, features: np.ndarray) -> float:
        return vendi_score(features)


class CosineDiversity(_OfPrompts):
    """One minus the mean cosine between each prompt's images."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return a prompt whose images are alike, at 0, and one whose images are at right angles, at 1."""
        return (KnownAnswer.of_features("alike, and apart", 0.5, ALIKE_AND_APART, images_per_prompt=2),)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield also whether the value is above n / (n - 1): n vectors cannot all be farther apart."""
        yield from super().contradictions(info, found)
        if (n := found.images_per_prompt) > 1:
            yield from found.within(None, n / (n - 1), f"{n} images of a prompt")

    def of_prompt(self, features: np.ndarray) -> float:
        return mean_cosine_distance(features)
