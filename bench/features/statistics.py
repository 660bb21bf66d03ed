"""Mean and covariance of a stream, in float64."""

from __future__ import annotations

import numpy as np


class GaussianStatistics:
    """Mean and covariance of a stream of rows, in float64.

    Sums are kept about `shift` [D], a rough mean, so that a large mean does not cancel against itself.
    """

    def __init__(self, shift: np.ndarray) -> None:
        self.shift = np.asarray(shift, dtype=np.float64)
        self.count = 0
        self._sum = np.zeros(self.shift.shape)
        self._outer = np.zeros(self.shift.shape * 2)

    def update(self, rows: np.ndarray) -> None:
        """Add rows [n, D]; n may be 0."""
        if rows.shape[1:] != self.shift.shape:
            raise ValueError(f"rows must be [n, {self.shift.size}], got {list(rows.shape)}")
        shifted = rows - self.shift
        self.count += len(rows)
        self._sum += shifted.sum(axis=0)
        self._outer += shifted.T @ shifted

    @property
    def mean(self) -> np.ndarray:
        """Mean, [D]."""
        return self.shift + self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, [D, D]; needs two rows."""
        return (self._outer - np.outer(self._sum, self._sum) / self.count) / (self.count - 1)
