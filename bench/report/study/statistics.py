"""The statistics of a study: exact binomial intervals, an interval for clustered answers, Fleiss' kappa."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics.intervals import t_interval

LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """How many of a number of independent decisions went one way, with the exact interval of the share."""

    count: int
    total: int
    value: float | None
    """The share; None without decisions."""
    low: float | None
    high: float | None
    p: float | None
    """Two-sided exact p-value of the hypothesis that the share is one half."""


def share(count: int, total: int, level: float = LEVEL) -> Share:
    """Return a share with its Clopper-Pearson interval and its exact binomial test against one half.

    Source: Clopper and Pearson 1934.
    """
    if total == 0:
        return Share(count, total, None, None, None, None)
    from scipy.stats import binomtest

    test = binomtest(count, total, 0.5)
    interval = test.proportion_ci(level, method="exact")
    return Share(count, total, count / total, float(interval.low), float(interval.high), float(test.pvalue))


def clustered(shares: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of the pairs' shares and its Student-t interval over pairs, clipped to 0 ... 1.

    A pair is a cluster: its raters saw the same images, so their answers are not independent, but the pairs are.
    If the shares do not vary, the interval is the exact one in which each pair counts as one answer; of a count
    that is not whole, the interval of both neighbours. A single pair says nothing about others: 0 ... 1.
    """
    mean, std, low, high = t_interval(shares, LEVEL)
    if low is None or high is None:
        return mean, 0.0, 1.0
    if std == 0:
        pairs = len(shares)
        count = round(mean * pairs, 9)  # 31 / 59 of 118 pairs is 62, and in float64 a little more
        below, above = (share(whole(count), pairs) for whole in (math.floor, math.ceil))
        return mean, below.low or 0.0, 1.0 if above.high is None else above.high
    return mean, max(low, 0.0), min(high, 1.0)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Return Fleiss' kappa of agreement; `counts` has a row for each item: the raters who chose each category.

    1 is full agreement, 0 what chance gives; None where it is undefined: for one rater, or a single category.
    Raises ValueError if items have different numbers of raters. Source: Fleiss 1971.
    """
    raters = sum(counts[0])
    if any(sum(row) != raters for row in counts):
        raise ValueError("every item needs the same number of raters")
    if raters < 2:
        return None
    items = len(counts)
    agreed = math.fsum(sum(n * (n - 1) for n in row) / (raters * (raters - 1)) for row in counts) / items
    by_chance = math.fsum((sum(column) / (items * raters)) ** 2 for column in zip(*counts, strict=True))
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
