"""Kernel distance: the unbiased squared MMD under a cubic kernel (Bińkowski et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from bench.core.errors import UserError
from bench.metrics.base import FeatureMetric, Measured
from bench.metrics.info import MetricInfo
from bench.metrics.kernel_sums import (
    Kernel,
    blocks,
    distance_of,
    kernel_means,
    recorded_means,
    standard_error,
    sums_across,
    sums_within,
)
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import corners, corners_distance
from bench.metrics.recorded import Recorded, agree
from bench.metrics.titles import has_published_scale


def cubic_kernel(scale: float) -> Kernel:
    """Return the kernel (a.b / (D scale^2) + 1)^3; the published one has the scale 1."""
    return partial(_cube, scale=scale)


def root_mean_square(features: np.ndarray) -> float:
    """Return the root of the mean square of all numbers in features [n, D], in float64."""
    total = math.fsum(float(np.square(features[rows], dtype=np.float64).sum()) for rows in blocks(features))
    return math.sqrt(total / features.size)


def _cube(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    base = (x.astype(np.float64) / (x.shape[1] * scale**2)) @ y.astype(np.float64).T
    base += 1
    cube = base * base
    cube *= base
    return cube


class KernelDistance(FeatureMetric):
    """KID over the full sets: as published for Inception features, and of scaled features for any others.

    All pairs are used, in float64, instead of random subsets: the same features give the same number, with less
    variance. It may be negative when the distributions are close. Source: Bińkowski et al. 2018, eq. 4.

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

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is not that of its parts."""
        if (parts := recorded_means(found)) is None:
            return
        generated, real, across = parts
        right = generated + real - 2 * across
        if not agree(found.value, right, sum(map(abs, parts))):
            yield f"its value is {found.value:.9g}, but its parts give {right:.9g}"

    def result(self) -> Measured:
        """Return the distance, its parts, its standard error over the images, and the reference's size and scale.

        Raises UserError if there are too few images, or if the real images' features are all zero.
        """
        generated, real = self.features(), self.real
        self.require(len(generated), "generated", defined=2)
        self.require(len(real), "reference", defined=2)
        scale = self._scale()
        kernel = cubic_kernel(scale)
        within_real = self.reference.once(f"kernel sums, scale {scale}", lambda: sums_within(real, kernel))
        sums = (sums_within(generated, kernel), within_real, *sums_across(generated, real, kernel))
        diagnostics: dict[str, float | int | bool] = {"reference_samples": len(real), "feature_scale": scale}
        diagnostics |= kernel_means(*sums[:3])
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
