"""The squared MMD of two sets of features under any kernel: its sums in tiles, and its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bench.features.statistics import row_blocks
from bench.metrics.recorded import Recorded

TILE = 1024
"""Rows and columns of the kernel matrix in memory at once: 8 MiB of float64, for any number of images."""

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A symmetric kernel: from rows [n, D] and [m, D] to its values [n, m], float64."""


def distance_of(within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray) -> float:
    """Return the unbiased squared MMD from the kernel's sums within x [n], within y [m], and from x to y [n]."""
    n, m = len(within_x), len(within_y)
    return float(within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * across_x.sum() / (n * m))


def kernel_means(within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray) -> dict[str, float]:
    """Return the parts of `distance_of` as diagnostics: the kernel's means over pairs of different images."""
    n, m = len(within_x), len(within_y)
    return {
        "generated_kernel": float(within_x.sum() / (n * (n - 1))),
        "reference_kernel": float(within_y.sum() / (m * (m - 1))),
        "cross_kernel": float(across_x.sum() / (n * m)),
    }


def recorded_means(found: Recorded) -> tuple[float, float, float] | None:
    """Return what `kernel_means` gave; None for a record of an earlier version, which lacks it."""
    parts = found.numbers("generated_kernel", "reference_kernel", "cross_kernel")
    return None if parts is None else (parts[0], parts[1], parts[2])


def standard_error(
    within_x: np.ndarray, within_y: np.ndarray, across_x: np.ndarray, across_y: np.ndarray
) -> float | None:
    """Return the standard error of `distance_of` over the points of both sets; None below 3 points.

    It is the delete-one jackknife, which overestimates the error when the distributions are close.
    Source: Efron and Stein 1981; Schucany and Bankson 1989 for U-statistics.
    """
    sides = (within_x, across_x, len(within_y)), (within_y, across_y, len(within_x))
    if min(len(within) for within, _, _ in sides) < 3:
        return None
    return math.sqrt(sum(_jackknife_variance(*side) for side in sides))


def _jackknife_variance(within: np.ndarray, across: np.ndarray, others: int) -> float:
    """Return the variance of the distance over one set's n points; the other set's own sum is constant."""
    n = len(within)
    left = (within.sum() - 2 * within) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * others)
    return float((n - 1) / n * np.square(left - left.mean()).sum())


def sums_within(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Return the sums of k(x_i, x_j) over all j != i, for x [n, D] with n >= 2: [n] float64."""
    sums = np.zeros(len(x))
    for rows in blocks(x):
        diagonal_tile = kernel(x[rows], x[rows])
        sums[rows] += diagonal_tile.sum(axis=1) - np.diagonal(diagonal_tile)
        for columns in row_blocks(len(x) - rows.stop, TILE):
            # The kernel is symmetric: this tile also represents its mirror image.
            tile = kernel(x[rows], x[rows.stop :][columns])
            sums[rows] += tile.sum(axis=1)
            sums[rows.stop :][columns] += tile.sum(axis=0)
    return sums


def sums_across(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of k(x_i, y_j) over all j, [n], and over all i, [m], for x [n, D] and y [m, D]."""
    of_x, of_y = np.zeros(len(x)), np.zeros(len(y))
    for rows in blocks(x):
        for columns in blocks(y):
            tile = kernel(x[rows], y[columns])
            of_x[rows] += tile.sum(axis=1)
            of_y[columns] += tile.sum(axis=0)
    return of_x, of_y


def blocks(x: np.ndarray) -> list[slice]:
    """Return slices of x's rows, each of a tile's height."""
    return list(row_blocks(len(x), TILE))
