"""Confidence intervals of means: Student's t and the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.features.statistics import row_blocks

RESAMPLES = 10_000
SEED = 0
BLOCK = 2**21
"""Number of indices that are drawn together."""
MOST_DRAWS = 2**25
"""Number of indices that one BCa interval draws, but for very many values."""


class Interval(NamedTuple):
    """A mean and its Student-t interval."""

    mean: float
    std: float | None
    low: float | None
    high: float | None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean, sample standard deviation and Student-t interval of independent values.

    A single value has only a mean. Raises ValueError without values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("t_interval needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, None)
    # scipy.special rather than scipy.stats: the same quantile, a quarter of the import time.
    from scipy.special import stdtrit

    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * std / math.sqrt(n)
    return Interval(mean, std, mean - half, mean + half)


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return the percentile interval of the mean of independent values [n], n >= 1, in float64.

    It is valid because a mean of resampled values is unbiased; a Fréchet distance of resampled images is not.
    Source: Efron and Tibshirani 1993, ch. 13.
    """
    low, high = np.quantile(_resampled_means(values, resamples, seed), [(1 - level) / 2, (1 + level) / 2])
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
    mean = values.mean()
    deviations = values - mean
    spread = np.square(deviations).sum()
    if not spread:
        return float(mean), float(mean)
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
