"""Checks for numbers from files that anyone may have written."""

from __future__ import annotations

LARGEST = 2.0**63
"""No count, time or figure in our files is as large as this."""


def is_finite(value: object) -> bool:
    """Say whether this is a number that can be counted and printed: not NaN, not infinite, at most 64 bits."""
    return isinstance(value, int | float) and abs(value) < LARGEST
