"""Kernel distance: the unbiased squared MMD under a cubic kernel (Bińkowski et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bench.metrics.base import FeatureMetric, Measured, row_blocks
from bench.metrics.catalogue import KID, MetricInfo

TILE = 1024
"""Rows and columns of the kernel matrix held at once: 8 MiB of float64, whatever the number of images."""


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD between x [n, D] and y [m, D] under k(a, b) = (a.b / D + 1)^3.

    All pairs are used, in float64: no random subsets, so the same features give the same number, with less
    variance. It may be negative when the distributions are close. Source: Bińkowski et al. 2018, eq. 4.
    """
    return mean_within(x) + mean_within(y) - 2 * mean_across(x, y)


def mean_within(x: np.ndarray) -> float:
    """Mean of k(x_i, x_j) over i != j, for x [n, D] with n >= 2."""
    n = len(x)
    total = 0.0
    for rows in row_blocks(n, TILE):
        diagonal_tile = _kernel(x[rows], x[rows])
        total += diagonal_tile.sum() - np.trace(diagonal_tile)
        for columns in row_blocks(n - rows.stop, TILE):
            # The kernel is symmetric: this tile stands for its mirror image too.
            total += 2 * _kernel(x[rows], x[rows.stop :][columns]).sum()
    return float(total) / (n * (n - 1))


def mean_across(x: np.ndarray, y: np.ndarray) -> float:
    """Mean of k(x_i, y_j) over all pairs of x [n, D] and y [m, D]."""
    total = 0.0
    for rows in row_blocks(len(x), TILE):
        for columns in row_blocks(len(y), TILE):
            total += _kernel(x[rows], y[columns]).sum()
    return float(total) / (len(x) * len(y))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = (x.astype(np.float64) / x.shape[1]) @ y.astype(np.float64).T
    base += 1
    cube = base * base
    cube *= base
    return cube


class KernelDistance(FeatureMetric):
    """KID over the full sets, in the protocol's feature space."""

    info: ClassVar[MetricInfo] = KID

    def result(self) -> Measured:
        """Distance, and the reference's size; raises UserError if there are too few images."""
        generated, real = self.features(), self.real
        self.require(len(generated), "generated", defined=2)
        self.require(len(real), "reference", defined=2)
        within_real = self.reference.once("kid", lambda: mean_within(real))
        value = mean_within(generated) + within_real - 2 * mean_across(generated, real)
        return Measured(value, len(generated), {"reference_samples": len(real)})
