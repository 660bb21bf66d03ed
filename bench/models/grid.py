"""Positions on a noise schedule's grid of times, computed without torch."""

from __future__ import annotations


def grid_index(position: float, grid_size: int = 1000) -> int:
    """Return the index of a position on the noise grid, 0 (least noisy) to 1 (last time): 0.399 is 399 of 1000."""
    return min(round(position * grid_size), grid_size - 1)


def student_indices(steps: int, grid_size: int = 1000, start: float = 1.0) -> list[int]:
    """Return the grid indices of an N-step student, descending: 999, 749, 499, 249 for N = 4 (DMD2, Sec. 4.4).

    The official rule range(T - 1, 0, -(T // N)) gives more than N entries if N does not divide T; here there are
    always exactly N. `start` is the position of the first, and the others are evenly spaced below it. Raises
    ValueError if fewer than N entries fit.
    """
    first = grid_index(start, grid_size)
    stride = (first + 1) // steps
    if stride == 0:
        raise ValueError(f"{steps} steps do not fit below position {start:g} of a grid of {grid_size}")
    return [first - i * stride for i in range(steps)]
