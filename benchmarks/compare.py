"""Measure how often a test finds a difference between equal runs: python benchmarks/compare.py.

Prints the tables of docs/compare.md: 20,000 simulated comparisons a cell, at 5 %, of normal values.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

SIMULATIONS, LEVEL = 20_000, 0.05
COUNTS = [(2, 2), (2, 3), (2, 4), (2, 5), (3, 3), (3, 4), (3, 5), (4, 4), (4, 5), (5, 5)]
RATIOS = (1.0, 0.3, 3.0, 0.1, 10.0, 0.01, 100.0)
"""Standard deviation of the second method's trainings in units of the first's."""


def rates(n: int, m: int, ratio: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the rates of false positives of Welch's t with Welch's degrees of freedom, and with min(n, m) - 1."""
    first, second = rng.standard_normal((SIMULATIONS, n)), ratio * rng.standard_normal((SIMULATIONS, m))
    error, errors = first.var(axis=1, ddof=1) / n, second.var(axis=1, ddof=1) / m
    t = (first.mean(axis=1) - second.mean(axis=1)) / np.sqrt(error + errors)
    estimated = (error + errors) ** 2 / (error**2 / (n - 1) + errors**2 / (m - 1))
    found = (2 * stdtr(degrees, -np.abs(t)) < LEVEL for degrees in (estimated, min(n, m) - 1))
    estimate, bound = (float(one.mean()) for one in found)
    return estimate, bound


def main() -> None:
    """Print one table for each choice of the degrees of freedom."""
    rng = np.random.default_rng(0)
    table = {count: [rates(*count, ratio, rng) for ratio in RATIOS] for count in COUNTS}
    head = f"| n, m | {' | '.join(f'{ratio:g}' for ratio in RATIOS)} |\n|{' --- |' * (1 + len(RATIOS))}"
    for number, title in enumerate(("Welch's degrees of freedom", "min(n, m) - 1 degrees of freedom")):
        print(f"{title}\n\n{head}")
        for (n, m), row in table.items():
            print(f"| {n}, {m} | {' | '.join(f'{100 * rate[number]:.1f} %' for rate in row)} |")
        print(f"\nhighest: {100 * max(rate[number] for row in table.values() for rate in row):.2f} %\n")


if __name__ == "__main__":
    main()
