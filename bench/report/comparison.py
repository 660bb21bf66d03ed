"""Tests whether two methods differ: Welch's over training seeds, and Student's against a single number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A two-sided test that two means are equal."""

    difference: float
    """The first mean minus the second."""
    t: float
    degrees: float
    """Degrees of freedom."""
    p: float
    n: tuple[int, ...]
    """Training seeds of each method; one count if the other side is a single number."""

    def __str__(self) -> str:
        name = "Welch's t" if len(self.n) == 2 else "one-sample t"
        seeds = " and ".join(str(count) for count in self.n)
        # No exponent: beyond two decimals of t and one digit of p, three seeds say nothing.
        return f"{name} = {f'{self.t:.2f}'.replace('-', '−')}, p {_shown(self.p)}, n = {seeds}"


def welch(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare the means of independent values whose variances may differ.

    Raises ValueError for fewer than two of either, or if neither varies. Source: Welch 1947.
    """
    (mean, variance), (other, others) = _moments(first), _moments(second)
    error, errors = variance / len(first), others / len(second)
    if error + errors == 0:
        raise ValueError("values without any spread cannot be compared by Welch's test")
    degrees = (error + errors) ** 2 / (error**2 / (len(first) - 1) + errors**2 / (len(second) - 1))
    t = (mean - other) / math.sqrt(error + errors)
    return Comparison(mean - other, t, degrees, _two_sided(t, degrees), (len(first), len(second)))


def one_sample(values: Sequence[float], number: float) -> Comparison:
    """Compare the mean of independent values with a number. Raises ValueError for fewer than two, or no spread."""
    mean, variance = _moments(values)
    if variance == 0:
        raise ValueError("values without any spread cannot be compared by Student's test")
    t = (mean - number) / math.sqrt(variance / len(values))
    return Comparison(mean - number, t, len(values) - 1, _two_sided(t, len(values) - 1), (len(values),))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    if n < 2:
        raise ValueError(f"a test over training seeds needs two or more, got {n}")
    mean = math.fsum(values) / n
    return mean, math.fsum((value - mean) ** 2 for value in values) / (n - 1)


def _two_sided(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))


def _shown(p: float) -> str:
    if p < 1e-4:
        return "< .0001"
    text = f"{p:.2g}" if p >= 1e-3 else f"{p:.4f}"
    return f"= {text.removeprefix('0')}"
