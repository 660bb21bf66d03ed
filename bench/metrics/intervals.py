"""Confidence intervals of means: Student's t and the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.core.errors import UserError
from bench.features.statistics import row_blocks

RESAMPLES = 10_000
SEED = 0
BLOCK = 2**21
"""Number of indices that are drawn together."""
MOST_DRAWS = 2**25
"""Number of indices that one BCa interval draws, but for very many values."""
ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Values that differ by no more than this part of their size are equal: the difference is rounding."""


class Interval(NamedTuple):
    """A mean and its Student-t interval."""

    mean: float
    std: float | None
    low: float | None
    high: float | None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean, sample standard deviation and Student-t interval of independent values.

    A single value has only a mean. Raises ValueError without values, or if one of several is not finite.
    """
    n = len(values)
    if n == 0:
        raise ValueError("t_interval needs at least one value")
    if n == 1:
        return Interval(float(values[0]), None, None, None)
    mean, std = mean_and_std(values)
    # scipy.special rather than scipy.stats: the same quantile, a quarter of the import time.
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + level / 2)) * std / math.sqrt(n)
    return Interval(mean, std, mean - half, mean + half)


def mean_and_std(values: Sequence[float], size: float = 0.0) -> tuple[float, float]:
    """Return the mean and the sample standard deviation of two or more values, of any size that float64 has.

    Values that are equal up to rounding have the deviation 0: rounding is not evidence of anything. `size` is that
    of the numbers from which the values were computed, where they are differences. Raises ValueError if a value is
    not finite: no comparison with NaN is true, so that it would count as equal to all others.
    """
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a mean of values that are not all finite: {list(values)}")
    largest = max(map(abs, values))
    if max(values) - min(values) <= ROUNDING * max(largest, size):
        return float(values[0]), 0.0
    exponent = math.frexp(largest)[1]  # a power of two changes no digit, and keeps sums and squares in range
    scaled = [math.ldexp(value, -exponent) for value in values]
    mean = math.fsum(scaled) / len(scaled)
    variance = math.fsum((value - mean) ** 2 for value in scaled) / (len(scaled) - 1)
    return math.ldexp(mean, exponent), math.ldexp(math.sqrt(variance), exponent)


def refuse_no_level(level: float) -> None:
    """Raise UserError for a level of confidence that a user gave, unless it is between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"--level is a confidence between 0 and 1, not {level:g}; fix: --level 0.95")


def bootstrap_interval(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of independent values [n], n >= 1, in float64.

    It is valid because a mean of resampled values is unbiased; a Fréchet distance of resampled images is not.
    Source: Efron and Tibshirani 1993, ch. 13.
    """
    low, high = np.quantile(_resampled_means(values, resamples, SEED), [0.025, 0.975])
    return float(low), float(high)


def bca_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of the mean of independent values [n].

    Unlike a percentile interval it follows the skewness of the values. Equal values give a point. Of more than
    2^25 / `resamples` values fewer resamples are taken, at least 2,000: a mean of so many is nearly normal.
    Source: Efron and Tibshirani 1993, ch. 14.3.
    """
    from scipy.special import ndtr, ndtri

    values = np.asarray(values, dtype=np.float64)
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return float(values[0]), float(values[0])
    mean = values.mean()
    deviations = values - mean
    deviations /= np.abs(deviations).max()  # the acceleration has no unit
    spread = np.square(deviations).sum()
    means = _resampled_means(values, min(resamples, max(2000, MOST_DRAWS // len(values))), seed)
    below = np.count_nonzero(means < mean) + np.count_nonzero(means == mean) / 2
    bias = ndtri(np.clip(below, 0.5, len(means) - 0.5) / len(means))
    acceleration = np.power(deviations, 3).sum() / (6 * spread**1.5)  # the jackknife's, of a mean
    normal = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(means, ndtr(bias + normal / (1 - acceleration * normal)))
    return float(low), float(high)


def _resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the means [resamples] of values [n] that are drawn with replacement."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for rows in row_blocks(resamples, max(1, BLOCK // len(values))):
        means[rows] = values[rng.integers(len(values), size=(len(means[rows]), len(values)))].mean(axis=1)
    return means
