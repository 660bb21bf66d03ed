"""How the numbers of a metric in a record bind each other: a value alone cannot be changed without a trace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RELATIVE = 1e-9
"""The part of a number's size that float64 arithmetic on another machine may change."""
WHOLE = 1e-3
"""The distance from a whole number that rounding gives a share times its count."""


@dataclass(frozen=True)
class Recorded:
    """One repetition of a metric, as a record has it. Earlier versions had fewer diagnostics."""

    value: float
    samples: int
    """Generated images."""
    images_per_prompt: int
    diagnostics: Mapping[str, Any]

    def number(self, name: str) -> float | None:
        """Return a diagnostic; None if there is none of this name that is a finite number."""
        found = self.diagnostics.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return float(found)

    def numbers(self, *names: str) -> tuple[float, ...] | None:
        """Return several diagnostics; None unless all are there."""
        given = tuple(found for name in names if (found := self.number(name)) is not None)
        return given if len(given) == len(names) else None

    @property
    def prompts(self) -> int:
        """The number of prompts, of which each has as many images."""
        return self.samples // self.images_per_prompt

    def with_interval(self, quantile: float) -> Iterator[str]:
        """Yield whether the interval is not the value plus and minus `quantile` standard errors."""
        found = self.numbers("standard_error", "low", "high")
        if found is None:
            return
        error, *ends = found
        half = quantile * error
        for name, end, right in zip(("low", "high"), ends, (self.value - half, self.value + half), strict=True):
            if not agree(end, right, abs(self.value) + error):
                yield f"{name} is {end:.9g}, but value and standard error give {right:.9g}"

    def with_share(self, count: float | None, of: float | None, what: str) -> Iterator[str]:
        """Yield whether the value is not `count` parts of `of`; without a `count` any whole number is one."""
        if not of:
            return
        parts = self.value * of
        if count is not None and not agree(parts, count, of):
            yield f"its value is {self.value:.9g}, but {what} are {count:g} of {of:g}"
        elif count is None and abs(parts - round(parts)) > WHOLE:
            yield f"its value is {self.value:.9g}, which is no whole number of {what}, of which there are {of:g}"

    def within(self, low: float | None, high: float | None, why: str) -> Iterator[str]:
        """Yield whether the value is below `low` or above `high`, by more than rounding."""
        room = RELATIVE * max(abs(self.value), *(abs(end) for end in (low, high) if end is not None), 1e-300)
        if (low is not None and self.value < low - room) or (high is not None and self.value > high + room):
            span = " to ".join("any" if end is None else f"{end:.9g}" for end in (low, high))
            yield f"its value is {self.value:.9g}, but {why} allow {span}"


def agree(one: float, other: float, size: float = 0.0) -> bool:
    """Return whether two numbers are equal but for rounding; `size` is that of the numbers they are made of."""
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE * size)
