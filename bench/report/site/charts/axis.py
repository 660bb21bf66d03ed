"""The axis of a chart: from values to pixels, with round numbers as ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


def is_wide(values: Sequence[float], ratio: float) -> bool:
    """Whether values are positive, with the greatest over `ratio` times the least; of no values it is false."""
    return bool(values) and min(values) > 0 and max(values) > ratio * min(values)


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` at pixel `start` to `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        scale = math.log10 if self.log else float
        low = scale(self.low)
        return self.start + (scale(value) - low) / (scale(self.high) - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return at most about `most` round values within the axis, in order."""
        if not self.log:
            return _round_values(self.low, self.high, most)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        decades = last - first + 1
        if decades >= 3:
            return [10.0**power for power in range(first, last + 1, -(-decades // most))]
        powers = range(first - 1, last + 1)
        found = [m * 10.0**power for power in powers for m in (1, 2, 5) if self._has(m * 10.0**power)]
        return found if len(found) >= 3 else _round_values(self.low, self.high, most)

    def _has(self, value: float) -> bool:
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


def axis_over(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Axis:
    """Return an axis that holds all values with a little room; also for one value, or none.

    Raises ValueError, with the value, for one that is not finite or that a logarithmic axis cannot hold.
    """
    found = list(values)
    wrong = next((value for value in found if not holds(value, log)), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} has no place on a {'logarithmic' if log else 'linear'} axis")
    low, high = (min(found), max(found)) if found else (1.0, 10.0)
    if log:
        ratio = (high / low) ** 0.05 if high > low * (1 + 1e-9) else 1.5
        return Axis(low / ratio, high * ratio, start, end, True)
    room = (high - low) * 0.05 if high - low > 1e-9 * abs(high) else abs(high) * 0.1 or 1.0
    return Axis(low - room, high + room, start, end)


def holds(value: float | None, log: bool) -> bool:
    """Say whether an axis can show a value: finite, not absurdly large, and positive if it is logarithmic."""
    return value is not None and abs(value) < 1e300 and (not log or value > 1e-300)


def tick_text(value: float) -> str:
    """Return a short form of a number with a real minus sign: 0.25, 10,000, 2e−7."""
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.3e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    else:
        text = f"{value:,.10g}" if abs(value) >= 1000 else f"{value:.6g}"
    return text.replace("-", "−")


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Return multiples of 1, 2, 2.5 or 5 times a power of ten, at most `most` of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]
