"""CMMD: the squared MMD of CLIP's image embeddings under a Gaussian kernel (Jayasumana et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.metrics.base import FeatureMetric, Measured
from bench.metrics.info import MetricInfo
from bench.metrics.kernel_sums import (
    distance_of,
    kernel_means,
    recorded_means,
    standard_error,
    sums_across,
    sums_within,
)
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded, agree

SIGMA = 10.0
"""Width of the kernel. Unit vectors are at most 2 apart, so that the kernel stays between 0.980 and 1."""
SCALE = 1000
"""Factor of the published values."""


def gaussian_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return k(a, b) - 1 for rows a of x [n, D] and b of y [m, D]: [n, m] float64, k = exp(-|a-b|^2 / 2 sigma^2).

    The 1 cancels in an MMD; without it the sums keep digits that 0.98 to 1 would lose.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    squares = -2 * x @ y.T
    squares += np.square(x).sum(axis=1)[:, None]
    squares += np.square(y).sum(axis=1)
    # Rounding makes those of equal rows negative: of long ones, exp is infinite.
    np.maximum(squares, 0, out=squares)
    return np.expm1(squares / (-2 * SIGMA**2))


def biased_distance_of(within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray) -> float:
    """Return the biased squared MMD, of all pairs with each point's pair with itself, at which k - 1 is 0.

    It takes the sums of k - 1 over pairs of different points within x [n] and within y [m], and from x to y [n].
    It is a squared norm, and so never negative. Source: Gretton et al. 2012, eq. 5.
    """
    n, m = len(within_x), len(within_y)
    found = float(within_x.sum() / n**2 + within_y.sum() / m**2 - 2 * across_x.sum() / (n * m))
    return max(found, 0.0)  # in this order NaN stays NaN, and is refused


class CMMD(FeatureMetric):
    """The biased squared MMD times 1,000, over all pairs in float64; the authors' sums are in float32."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return sets of one point each, a distance of sqrt(2) and of 1e-6 apart, and a set and itself."""
        x, y = np.eye(2)[[0, 0, 0, 0]], np.eye(2)[[1, 1, 1]]
        near = x + np.array([1e-6, 0.0])
        return (
            KnownAnswer.of_features("two points at right angles", -2 * SCALE * np.expm1(-2 / 200), x, y),
            KnownAnswer.of_features("two points 1e-6 apart", 2 * SCALE * 1e-12 / 200, near, x, tolerance=1e-14),
            KnownAnswer.of_features("the same images", 0.0, np.eye(5), np.eye(5)),
        )

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the biased distance is below the unbiased one, or one of the two not that of its parts."""
        yield from found.within(found.number("unbiased"), None, "the unbiased value")
        parts, counts = recorded_means(found), found.numbers("unbiased", "reference_samples")
        if parts is None or counts is None or counts[1] < 1:
            return
        (generated, real, across), (unbiased, count), n = parts, counts, found.samples
        size = SCALE * sum(map(abs, parts))
        biased = max(SCALE * (generated * (n - 1) / n + real * (count - 1) / count - 2 * across), 0.0)
        for name, value, right in (
            ("value", found.value, biased),
            ("unbiased value", unbiased, SCALE * (generated + real - 2 * across)),
        ):
            if not agree(value, right, size):
                yield f"its {name} is {value:.9g}, but its parts give {right:.9g}"

    def result(self) -> Measured:
        """Return the distance; the diagnostics have the unbiased one with its standard error, and their parts.

        Raises UserError if there are too few images.
        """
        generated, real = self.features(), self.real
        self.require(len(generated), "generated", defined=2)
        self.require(len(real), "reference", defined=2)
        within_real = self.reference.once("sums of CMMD's kernel", lambda: sums_within(real, gaussian_kernel))
        sums = (
            sums_within(generated, gaussian_kernel),
            within_real,
            *sums_across(generated, real, gaussian_kernel),
        )
        diagnostics: dict[str, float | int | bool] = {
            "reference_samples": len(real),
            "unbiased": SCALE * distance_of(*sums[:3]),
            **kernel_means(*sums[:3]),
        }
        error = standard_error(*sums)
        if error is not None:
            diagnostics["standard_error"] = SCALE * error
        return Measured(SCALE * biased_distance_of(*sums[:3]), len(generated), diagnostics)
