"""Measure how often a test finds a difference between equal runs: python benchmarks/compare.py.

Prints the tables of docs/compare.md: 20,000 simulated comparisons a cell, at 5 %, of normal values, first of two
methods and then of a method and a sampler of the teacher.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

SIMULATIONS, LEVEL = 20_000, 0.05
COUNTS = [(2, 2), (2, 3), (2, 4), (2, 5), (3, 3), (3, 4), (3, 5), (4, 4), (4, 5), (5, 5)]
RATIOS = (1.0, 0.3, 3.0, 0.1, 10.0, 0.01, 100.0)
"""Standard deviation of the second method's trainings in units of the first's."""

SAMPLER_RATIOS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Standard deviation of a sampler's generation seeds in units of the training seeds'."""


def rates(n: int, m: int, ratio: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the rates of false positives of Welch's t with Welch's degrees of freedom, and with min(n, m) - 1."""
    first, second = rng.standard_normal((SIMULATIONS, n)), ratio * rng.standard_normal((SIMULATIONS, m))
    error, errors = first.var(axis=1, ddof=1) / n, second.var(axis=1, ddof=1) / m
    t = (first.mean(axis=1) - second.mean(axis=1)) / np.sqrt(error + errors)
    estimated = (error + errors) ** 2 / (error**2 / (n - 1) + errors**2 / (m - 1))
    found = (2 * stdtr(degrees, -np.abs(t)) < LEVEL for degrees in (estimated, min(n, m) - 1))
    estimate, bound = (float(one.mean()) for one in found)
    return estimate, bound


def sampler_rates(ratio: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the rates for three training seeds and a sampler of three generation seeds.

    The first is of Student's one-sample t, which takes the sampler's mean as exact; the second of Welch's t with 2
    degrees of freedom. `ratio` is the standard deviation of generation seeds in units of the training seeds'.
    """
    trained, sampled = rng.standard_normal((SIMULATIONS, 3)), ratio * rng.standard_normal((SIMULATIONS, 3))
    difference = np.abs(trained.mean(axis=1) - sampled.mean(axis=1))
    error, errors = trained.var(axis=1, ddof=1) / 3, sampled.var(axis=1, ddof=1) / 3
    exact, both = (2 * stdtr(2, -difference / np.sqrt(one)) < LEVEL for one in (error, error + errors))
    return float(exact.mean()), float(both.mean())


def main() -> None:
    """Print a table for each choice of the degrees of freedom, and one for samplers."""
    rng = np.random.default_rng(0)
    table = {count: [rates(*count, ratio, rng) for ratio in RATIOS] for count in COUNTS}
    head = f"| n, m | {' | '.join(f'{ratio:g}' for ratio in RATIOS)} |\n|{' --- |' * (1 + len(RATIOS))}"
    for number, title in enumerate(("Welch's degrees of freedom", "min(n, m) - 1 degrees of freedom")):
        print(f"{title}\n\n{head}")
        for (n, m), row in table.items():
            print(f"| {n}, {m} | {' | '.join(f'{100 * rate[number]:.1f} %' for rate in row)} |")
        print(f"\nhighest: {100 * max(rate[number] for row in table.values() for rate in row):.2f} %\n")
    found = [sampler_rates(ratio, rng) for ratio in SAMPLER_RATIOS]
    print(f"| a sampler's | {' | '.join(f'{ratio:g}' for ratio in SAMPLER_RATIOS)} |")
    print(f"|{' --- |' * (1 + len(SAMPLER_RATIOS))}")
    for number, test in enumerate(("one-sample t", "Welch's t")):
        print(f"| {test} | {' | '.join(f'{100 * rate[number]:.1f} %' for rate in found)} |")


if __name__ == "__main__":
    main()
