"""Tests whether two means differ: over training seeds, against a single number, and over pairs; in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.metrics.intervals import mean_and_std
from bench.metrics.result import MetricResult

Test = Literal["Welch's t", "one-sample t", "paired t"]


@dataclass(frozen=True)
class Comparison:
    """A two-sided test that two means are equal."""

    test: Test
    difference: float
    """The first mean minus the second."""
    error: float
    """Standard error of the difference."""
    degrees: int
    """Degrees of freedom."""
    n: tuple[int, ...]
    """Values of each side; one count if the other side is a single number, or for pairs."""

    @property
    def t(self) -> float:
        """The difference in standard errors."""
        return self.difference / self.error

    @property
    def p(self) -> float:
        """The probability of a |t| at least this large if the means are equal."""
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees, -abs(self.t)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the difference; it leaves out 0 exactly if p < 1 - level."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, 0.5 + level / 2)) * self.error
        return self.difference - half, self.difference + half

    def __str__(self) -> str:
        counts = " and ".join(str(count) for count in self.n)
        # No exponent: beyond two decimals of t and one digit of p, three seeds say nothing.
        return f"{self.test} = {f'{self.t:.2f}'.replace('-', '−')}, p {shown_p(self.p)}, n = {counts}"


def welch(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare the means of independent values whose variances may differ.

    The statistic is Welch's. The degrees of freedom are one less than the smaller count and not Welch's estimate,
    which claims too many differences with a handful of seeds (docs/compare.md); this bound keeps the level for
    normal values of any two variances. Raises ValueError for fewer than two of either, or if neither varies.
    Sources: Welch 1938; Hsu 1938; Mickey and Brown 1966.
    """
    (mean, error), (other, its_error) = _mean_and_error(first), _mean_and_error(second)
    error = math.hypot(error, its_error)
    if error == 0:
        raise ValueError("values without any spread cannot be compared by Welch's test")
    counts = len(first), len(second)
    return Comparison("Welch's t", mean - other, error, min(counts) - 1, counts)


def one_sample(values: Sequence[float], number: float) -> Comparison:
    """Compare the mean of independent values with a number. Raises ValueError for fewer than two, or no spread."""
    return _student("one-sample t", values, number)


def against_sampler(values: Sequence[float], sampler: MetricResult) -> Comparison:
    """Compare the mean of independent trainings with a sampler of the teacher.

    A sampler's value has an error, too, and Welch's test over its generation seeds counts it. Of one generation
    seed, or a minimum of several, the error is not known, and the value is taken as exact. Raises ValueError for
    fewer than two trainings, if nothing varies, or if the sampler has no value.
    """
    if sampler.value is None:
        raise ValueError("the sampler has no value")
    return one_sample(values, sampler.value) if sampler.low is None else welch(values, sampler.values)


def paired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two means over pairs: value i of both has the same seed or prompt, and pairs are independent.

    Raises ValueError for unequal counts, fewer than two pairs, or differences that are all equal.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need as many values on both sides, got {len(first)} and {len(second)}")
    size = max(map(abs, (*first, *second)), default=0.0)
    return _student("paired t", [one - other for one, other in zip(first, second, strict=True)], 0.0, size)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: those below a level are all true with that confidence.

    Source: Holm 1979.
    """
    adjusted = [0.0] * len(p)
    least = 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda number: p[number])):
        least = max(least, min(1.0, (len(p) - rank) * p[position]))
        adjusted[position] = least
    return adjusted


def shown_p(p: float, alpha: float = 0.05) -> str:
    """Format a p-value with its relation, `= .031` or `< .0001`; the text is below `alpha` exactly if p is."""
    if p < 1e-4:
        return "< .0001"
    decimals = 2 if p >= 0.1 else 3 if p >= 0.01 else 4
    while (float(f"{p:.{decimals}f}") < alpha) != (p < alpha):
        decimals += 1
    return f"= {p:.{decimals}f}".replace("= 0.", "= .")


def _student(test: Test, values: Sequence[float], number: float, size: float = 0.0) -> Comparison:
    mean, error = _mean_and_error(values, size)
    if error == 0:
        raise ValueError("values without any spread cannot be compared by Student's test")
    return Comparison(test, mean - number, error, len(values) - 1, (len(values),))


def _mean_and_error(values: Sequence[float], size: float = 0.0) -> tuple[float, float]:
    """Return the mean and its standard error, which is 0 for values that are equal up to rounding."""
    if len(values) < 2:
        raise ValueError(f"a test over training seeds needs two or more, got {len(values)}")
    mean, std = mean_and_std(values, size)
    return mean, std / math.sqrt(len(values))
