"""Numbers from files that may be anybody's."""

from __future__ import annotations

LARGEST = 2.0**63
"""Beyond it no count, time or figure of ours is."""


def is_finite(value: object) -> bool:
    """Whether this is a number that can be counted and printed: no NaN or infinity, no more than 64 bits."""
    return isinstance(value, int | float) and abs(value) < LARGEST
