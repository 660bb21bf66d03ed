"""Vendi score: how many different images a set is worth (Friedman and Dieng 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import UserError
from bench.features.statistics import row_blocks
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded, agree
from bench.task.protocol import Protocol

ROWS = 4096
"""Number of rows that are normalised together."""


def vendi_score(features: np.ndarray) -> float:
    """Return the Vendi score of features [n, D], n >= 1, under the cosine kernel: 1 (all equal) to n.

    It is the exponential of the entropy of the eigenvalues of K / n, K_ij = cos(x_i, x_j), in float64. The smaller
    of K / n and the D x D second moment is taken: they have the same eigenvalues but zeros. Raises ValueError if
    an image's features are all zero. Source: Friedman and Dieng 2023, eq. 3 and Sec. 3.
    """
    n, d = features.shape
    rows = unit_rows(features)
    return effective_number((rows @ rows.T if n <= d else rows.T @ rows) / n)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Return the rows of features [n, D] divided by their lengths, float64, whatever their size.

    Raises ValueError if the features of an image are all zero.
    """
    rows = features.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    if not largest.all():
        raise ValueError("an image's features are all zero, so that it has no cosine with others")
    # A power of two changes no digit, and keeps the squares of very large and very small features in range.
    rows = np.ldexp(rows, -np.frexp(largest)[1])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def effective_number(matrix: np.ndarray) -> float:
    """Return exp of the entropy of the eigenvalues of a symmetric matrix [k, k] of trace 1, none negative."""
    eigenvalues = np.linalg.eigvalsh(matrix)
    positive = eigenvalues[eigenvalues > 0]  # rounding leaves zeros on both sides of 0
    return float(np.exp(-(positive * np.log(positive)).sum()))


class VendiScore(Metric):
    """The Vendi score of all generated images in one feature space; memory does not grow with their number.

    It is at most the number of images and grows with it, so that only scores of equally many images compare.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return images all different, all alike, and of three kinds in unequal parts, of any lengths."""
        parts = np.array([5, 3, 2])
        kinds = np.repeat(np.eye(4)[:3], parts, axis=0) * np.arange(1, 11)[:, None]
        of_kinds = float(np.exp(-(parts / 10 * np.log(parts / 10)).sum()))
        return (
            KnownAnswer.of_features("images that are all different", 9.0, np.eye(9)),
            KnownAnswer.of_features("images that are all alike", 1.0, np.ones((7, 3))),
            KnownAnswer.of_features("three kinds in parts of 5, 3 and 2", of_kinds, kinds),
        )

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is above the number of images, or not its share of them."""
        yield from found.within(None, found.samples, "the images")
        share = found.number("share_of_images")
        if share is not None and not agree(found.value, share * found.samples):
            yield f"its value is {found.value:.9g}, but its share of the images is {share:.9g}"

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._moment: np.ndarray | None = None
        self._images = 0

    def update(self, batch: Features) -> None:
        """Add the batch to the second moment of the unit rows. Raises UserError if features are all zero."""
        for block in row_blocks(len(batch), ROWS):
            try:
                rows = unit_rows(batch.features[block])
            except ValueError as error:
                raise UserError(
                    f"metric {self.info.name!r}: {error}; fix: take another feature network, or leave it out"
                ) from None
            moment = rows.T @ rows
            self._moment = moment if self._moment is None else self._moment + moment
        self._images += len(batch)

    def result(self) -> Measured:
        """Return the score, and its share of the number of images. Raises UserError if there are too few."""
        self.require(self._images, "generated", defined=1)
        assert self._moment is not None
        score = effective_number(self._moment / self._images)
        return Measured(score, self._images, {"share_of_images": score / self._images})
