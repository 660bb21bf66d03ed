"""Improved precision and recall: the share of one set that lies within the other (Kynkäänniemi et al. 2019)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from bench.features.statistics import row_blocks
from bench.metrics.base import FeatureMetric, Measured
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import line
from bench.metrics.recorded import Recorded

ON_LINE = line(*range(10))
"""Ten points; the balls to their third neighbours cover the line from -3 to 12."""
AT_ENDS = line(-3.1, -2.9, 11.9, 12.1)
"""Points just outside and inside these balls."""
BLOCK = 2**21
"""Number of distances in memory at once: 16 MiB of float64, for any number of images."""


def squared_radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the squared distance of each row of features [n, D] to its k-th nearest other row, [n] float64.

    Raises ValueError unless n > neighbours >= 1.
    """
    n = len(features)
    if not 1 <= neighbours < n:
        raise ValueError(f"{n} points have no {neighbours}-th nearest neighbour")
    rows = features - features.mean(axis=0, dtype=np.float64)
    norms = (rows * rows).sum(axis=1)
    closeness = _Closeness(rows, -norms / 2)
    # The nearest of all is the row itself, so that the k-th other one is at sorted position k.
    position = n - 1 - neighbours
    kth = [np.partition(closeness(rows[block]), position, axis=1)[:, position] for block in _blocks(n, n)]
    return np.maximum(norms - 2 * np.concatenate(kth), 0.0)


def fraction_inside(points: np.ndarray, centres: np.ndarray, radii2: np.ndarray) -> float:
    """Return the fraction of points [n, D] within at least one ball of centres [m, D] and squared radii [m].

    The boundary is inside (`<=`), also where float64 rounding would put it outside.
    """
    shift = centres.mean(axis=0, dtype=np.float64)
    points, centres = points - shift, centres - shift
    point_norms, centre_norms = (points * points).sum(axis=1), (centres * centres).sum(axis=1)
    # |p - c|^2 <= r^2 is p.c + (r^2 - |c|^2) / 2 >= |p|^2 / 2. Rounding moves either side by less than
    # `slack` times the squared norms (centred, so they are the scale of the data).
    slack = 2 * points.shape[1] * np.finfo(np.float64).eps
    closeness = _Closeness(centres, (radii2 - centre_norms) / 2 + slack * centre_norms)
    threshold = point_norms / 2 - slack * point_norms
    inside = 0
    for block in _blocks(len(points), len(centres)):
        inside += int((closeness(points[block]).max(axis=1) >= threshold[block]).sum())
    return inside / len(points)


class _Closeness:
    """The function x -> x.y_j + offset_j for every j; the offset is one more column, so that it costs no pass."""

    def __init__(self, rows: np.ndarray, offsets: np.ndarray) -> None:
        self.columns = np.column_stack([rows, offsets]).T

    def __call__(self, block: np.ndarray) -> np.ndarray:
        return np.column_stack([block, np.ones(len(block))]) @ self.columns


def _blocks(rows: int, columns: int) -> list[slice]:
    return list(row_blocks(rows, max(1, BLOCK // columns)))


class _Support(FeatureMetric):
    """The base class of precision and recall, which checks the number of images on both sides."""

    half: ClassVar[tuple[np.ndarray, np.ndarray]]
    """Generated and real points, half of which lie inside the other ones' balls."""

    def sets(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the generated and the real features. Raises UserError if there are too few of either."""
        generated, real = self.features(), self.real
        self.require(len(generated), "generated", defined=self.protocol.neighbours + 1)
        self.require(len(real), "reference", defined=self.protocol.neighbours + 1)
        return generated, real

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return the same set twice, sets apart, and points of which half lie inside the other ones' balls."""
        return (
            KnownAnswer.of_features("the same images", 1.0, ON_LINE, ON_LINE),
            KnownAnswer.of_features("images apart from all others", 0.0, ON_LINE + 1000, ON_LINE),
            KnownAnswer.of_features("half inside the third neighbours' balls", 0.5, *cls.half, neighbours=3),
        )

    @classmethod
    @abstractmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield whether the value is not a share of the images that are counted."""

    def measured(self, value: float, generated: np.ndarray) -> Measured:
        """Return the value with its diagnostics."""
        reference_samples = len(self.real)
        diagnostics = {"neighbours": self.protocol.neighbours, "reference_samples": reference_samples}
        return Measured(value, len(generated), {**diagnostics})


class Precision(_Support):
    """The fraction of generated images within the support of the real ones: fidelity."""

    half = (AT_ENDS, ON_LINE)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        yield from found.with_share(None, found.samples, "generated images")

    def result(self) -> Measured:
        """Return the precision; the real set's radii are computed once per reference."""
        generated, real = self.sets()
        k = self.protocol.neighbours
        radii2 = self.reference.once(f"squared radii of {k} neighbours", lambda: squared_radii(real, k))
        return self.measured(fraction_inside(generated, real, radii2), generated)


class Recall(_Support):
    """The fraction of real images within the support of the generated ones: coverage."""

    half = (ON_LINE, AT_ENDS)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        yield from found.with_share(None, found.number("reference_samples"), "real images")

    def result(self) -> Measured:
        """Return the recall."""
        generated, real = self.sets()
        radii2 = squared_radii(generated, self.protocol.neighbours)
        return self.measured(fraction_inside(real, generated, radii2), generated)
