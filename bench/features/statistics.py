"""Mean and covariance in float64, of a stream or of an array of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 4096
"""Number of rows that are centred together."""


def row_blocks(rows: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most `size` that cover range(rows)."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def mean_and_covariance(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [D] and the unbiased covariance [D, D] of rows [N, D], in float64 and in two passes."""
    mean = rows.mean(axis=0, dtype=np.float64)
    outer = np.zeros((rows.shape[1],) * 2)
    for block in row_blocks(len(rows), ROWS):
        centred = rows[block] - mean
        outer += centred.T @ centred
    return mean, outer / max(len(rows) - 1, 1)


class GaussianStatistics:
    """Mean and covariance of a stream of rows, in float64.

    Sums are kept about the mean of the first rows, so that a large mean does not cancel against itself, and rows
    that are all equal have the covariance 0.
    """

    def __init__(self, dimensions: int) -> None:
        self.shift = np.zeros(dimensions)
        self.count = 0
        self._sum = np.zeros(self.shift.shape)
        self._outer = np.zeros(self.shift.shape * 2)

    def update(self, rows: np.ndarray) -> None:
        """Add rows [n, D]; n may be 0."""
        if rows.shape[1:] != self.shift.shape:
            raise ValueError(f"rows must be [n, {self.shift.size}], got {list(rows.shape)}")
        if self.count == 0 and len(rows):
            self.shift = rows.mean(axis=0, dtype=np.float64)
        shifted = rows - self.shift
        self.count += len(rows)
        self._sum += shifted.sum(axis=0)
        self._outer += shifted.T @ shifted

    @property
    def mean(self) -> np.ndarray:
        """The mean, [D]."""
        return self.shift + self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, [D, D], of at least two rows."""
        return (self._outer - np.outer(self._sum, self._sum) / self.count) / (self.count - 1)
