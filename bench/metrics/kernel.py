"""Kernel distance: the unbiased squared MMD under a cubic kernel (Bińkowski et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.core.errors import UserError
from bench.features.statistics import row_blocks
from bench.metrics.base import FeatureMetric, Measured
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import corners, corners_distance
from bench.metrics.titles import has_published_scale

TILE = 1024
"""Rows and columns of the kernel matrix in memory at once: 8 MiB of float64, for any number of images."""


def kernel_distance(x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
    """Return the unbiased squared MMD between x [n, D] and y [m, D] under k(a, b) = (a.b / (D scale^2) + 1)^3.

    All pairs are used, in float64, instead of random subsets: the same features give the same number, with less
    variance. It may be negative when the distributions are close. Source: Bińkowski et al. 2018, eq. 4, whose
    features have the scale 1; `root_mean_square` of the real features makes it independent of their unit.
    """
    return distance_of(sums_within(x, scale), sums_within(y, scale), sums_across(x, y, scale)[0])


def root_mean_square(features: np.ndarray) -> float:
    """Return the root of the mean square of all numbers in features [n, D], in float64."""
    total = math.fsum(float(np.square(features[rows], dtype=np.float64).sum()) for rows in blocks(features))
    return math.sqrt(total / features.size)


def distance_of(within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray) -> float:
    """Return the squared MMD from the kernel's sums within x [n], within y [m], and from x to y [n]."""
    n, m = len(within_x), len(within_y)
    return float(within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * across_x.sum() / (n * m))


def standard_error(
    within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray, across_y: np.ndarray
) -> float | None:
    """Return the standard error of `distance_of` over the points of both sets; None below 3 points.

    It is the delete-one jackknife, which overestimates the error when the distributions are close.
    Source: Efron and Stein 1981; Schucany and Bankson 1989 for U-statistics.
    """
    sides = (within_x, across_x, len(within_y)), (within_y, across_y, len(within_x))
    if min(len(within) for within, _, _ in sides) < 3:
        return None
    return math.sqrt(sum(_jackknife_variance(*side) for side in sides))


def _jackknife_variance(within: np.ndarray, across: np.ndarray, others: int) -> float:
    """Return the variance of the distance over one set's n points; the other set's own sum is constant."""
    n = len(within)
    left = (within.sum() - 2 * within) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * others)
    return float((n - 1) / n * np.square(left - left.mean()).sum())


def sums_within(x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return the sums of k(x_i, x_j) over all j != i, for x [n, D] with n >= 2: [n] float64."""
    sums = np.zeros(len(x))
    for rows in blocks(x):
        diagonal_tile = _kernel(x[rows], x[rows], scale)
        sums[rows] += diagonal_tile.sum(axis=1) - np.diagonal(diagonal_tile)
        for columns in row_blocks(len(x) - rows.stop, TILE):
            # The kernel is symmetric: this tile also represents its mirror image.
            tile = _kernel(x[rows], x[rows.stop :][columns], scale)
            sums[rows] += tile.sum(axis=1)
            sums[rows.stop :][columns] += tile.sum(axis=0)
    return sums


def sums_across(x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of k(x_i, y_j) over all j, [n], and over all i, [m], for x [n, D] and y [m, D]."""
    of_x, of_y = np.zeros(len(x)), np.zeros(len(y))
    for rows in blocks(x):
        for columns in blocks(y):
            tile = _kernel(x[rows], y[columns], scale)
            of_x[rows] += tile.sum(axis=1)
            of_y[columns] += tile.sum(axis=0)
    return of_x, of_y


def blocks(x: np.ndarray) -> list[slice]:
    """Return slices of x's rows, each of a tile's height."""
    return list(row_blocks(len(x), TILE))


def _kernel(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    base = (x.astype(np.float64) / (x.shape[1] * scale**2)) @ y.astype(np.float64).T
    base += 1
    cube = base * base
    cube *= base
    return cube


class KernelDistance(FeatureMetric):
    """KID over the full sets: as published for Inception features, and of scaled features for any others.

    The published kernel adds 1 to a.b / D, which fits only features of about unit size, as the Inception's are.
    Those of a small classifier are ten times larger, which the cube turns into thousands. They are divided by
    their root mean square over the real images, and the value is recorded under another name.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return the corners of a cube, whose root mean square is 1, so that every network has the same answer."""
        cube = corners(5)
        half, same = corners_distance(5, whole=False), corners_distance(5, whole=True)
        return (
            KnownAnswer.of_features("half a cube's corners against all", half, cube[16:], cube),
            KnownAnswer.of_features("a cube's corners against themselves", same, cube, cube),
        )

    def result(self) -> Measured:
        """Return the distance, its standard error over the images, and the reference's size and scale.

        Raises UserError if there are too few images, or if the real images' features are all zero.
        """
        generated, real = self.features(), self.real
        self.require(len(generated), "generated", defined=2)
        self.require(len(real), "reference", defined=2)
        scale = self._scale()
        within_real = self.reference.once(f"kernel sums, scale {scale}", lambda: sums_within(real, scale))
        sums = (sums_within(generated, scale), within_real, *sums_across(generated, real, scale))
        diagnostics: dict[str, float | int | bool] = {"reference_samples": len(real), "feature_scale": scale}
        error = standard_error(*sums)
        if error is not None:
            diagnostics["standard_error"] = error
        return Measured(distance_of(*sums[:3]), len(generated), diagnostics)

    def _scale(self) -> float:
        if has_published_scale(self.protocol.network(self.info.extractor)):
            return 1.0
        scale = self.reference.once("root mean square", lambda: root_mean_square(self.real))
        if scale == 0:
            raise UserError(
                f"metric {self.info.name!r} divides features by their root mean square over the reference "
                f"{self.reference.name!r}, which is 0; fix: take another feature network, or leave the metric out"
            )
        return scale
