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
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for rows in row_blocks(resamples, max(1, BLOCK // len(values))):
        means[rows] = values[rng.integers(len(values), size=(len(means[rows]), len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
