"""A metric's value in a table as numbers, so that no renderer reads them out of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.metrics.titles import NO_SPREAD, TIMES
from bench.report.summary import GENERATION_SEEDS, TRAINING_SEEDS

NOTHING = "–"
MOST_DECIMALS = 6
"""Decimals of an end of an interval, or of a difference, at most."""
LARGE = 1e9
"""From here on numbers have an exponent: their digits before the point would be more than they have."""


@dataclass(frozen=True)
class Measured:
    """The value of one row and metric with its uncertainty, or the reason why there is none.

    Numbers are on the scale that tables show: KID times 1,000.
    """

    state: str = ""
    """Why there is no value: missing, in progress or failed; empty if there is one, or none is expected."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    """What `low` to `high` is over: training seeds, generation seeds, or nothing."""
    n: int | None = None
    """Training seeds behind the value; None for a baseline, which has none."""
    failed: int = 0
    """Training seeds that failed."""
    standard_error: float | None = None
    """Of one measurement over its images; for KID, and where there is no interval."""
    more: int = 0
    """Decimals beyond those of tables, where a column needs them (`decimals_apart`)."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Measured:
        """Return the value of a row of `bench.report.summary.summarise`."""
        if row["status"] != "ok":
            texts = {"missing": row.get("work") or "missing", "failed": f"failed: {row['error']}"}
            return cls(texts.get(row["status"], ""))
        if pd.isna(row.get("value")):
            return cls()
        times = TIMES.get(row["metric"], 1)
        student = row["kind"] != "baseline"
        names = ("value", "low", "high", "standard_error")
        value, low, high, error = (None if pd.isna(row[name]) else times * row[name] for name in names)
        return cls(
            value=value,
            low=low,
            high=high,
            interval=row["interval"],
            n=row["n_seeds"] if student else None,
            failed=row["n_failed"] if student else 0,
            standard_error=error if times != 1 or not row["interval"] else None,
        )

    @property
    def half(self) -> str:
        """The half width of the interval with its sign, or that the values have no spread; empty without one."""
        if self.value is None or self.low is None or self.high is None or not self.interval:
            return ""
        return NO_SPREAD if self.flat else f"± {self.format(self.high - self.value)}"

    @property
    def ends(self) -> str:
        """The interval in brackets, or that the values have no spread; empty without one."""
        if self.value is None or self.low is None or self.high is None or not self.interval:
            return ""
        return bracketed(self.low, self.high, decimals(self.value) + self.more)

    @property
    def flat(self) -> bool:
        """Whether all values behind the interval are equal."""
        return self.low is not None and self.low == self.high

    @property
    def ranks(self) -> bool:
        """Whether the interval is over training seeds, the only kind that can rank methods."""
        return self.interval == TRAINING_SEEDS

    @property
    def over_generation_seeds(self) -> bool:
        """Whether the interval is over the generation seeds of one result."""
        return self.interval == GENERATION_SEEDS

    def format(self, number: float) -> str:
        """Format a number with the decimals of the value."""
        return fixed(number, decimals(self.value or 0) + self.more)

    def __str__(self) -> str:
        """Return the text of Markdown tables, which names the kind of uncertainty.

        It is `mean ± half width over training seeds (n=seeds)` or `value [low, high] over generation seeds`. If
        there is neither interval, and always for KID, it has the standard error over one measurement's images.
        """
        if self.value is None:
            return self.state or NOTHING
        text = self.format(self.value)
        if interval := self.half if self.ranks else self.ends:
            text += f" {interval} over {self.interval}"
        more = [] if self.n is None else [f"n={self.n}"]
        if self.standard_error is not None:
            more.append(f"SE {self.format(self.standard_error)} over images")
        if self.failed:
            more.append(f"{self.failed} failed")
        return f"{text} ({'; '.join(more)})" if more else text


def bracketed(low: float, high: float, digits: int) -> str:
    """Format an interval in brackets, with decimals as `ends_of` gives them; of a point, that it is one."""
    return f"[{NO_SPREAD}]" if low == high else f"[{', '.join(ends_of(low, high, digits))}]"


def ends_of(low: float, high: float, digits: int) -> tuple[str, str]:
    """Format the ends of an interval with decimals, or with as many more as show that they differ.

    Ends that have more digits in common than a reader can use are given with the most.
    """
    while digits < MOST_DECIMALS and fixed(low, digits) == fixed(high, digits):
        digits += 1
    return fixed(low, digits), fixed(high, digits)


def fixed(number: float, digits: int) -> str:
    """Format a number with decimals; with an exponent where they would show a false 0, or hundreds of digits."""
    text = f"{number:.{digits}f}"
    if abs(number) >= LARGE or (number and not float(text)):
        return f"{number:.1e}"
    return text if number else text.removeprefix("-")


def decimals_apart(values: Sequence[float | None], marked: Sequence[int]) -> int:
    """Return how many more decimals tell the marked values of a column, by their places, from all others."""
    given = [value for value in values if value is not None]

    def shown(value: float, more: int) -> float:
        return float(fixed(value, decimals(value) + more))

    for more in range(MOST_DECIMALS):
        if not any(
            value != values[place] and shown(value, more) == shown(best, more)
            for place in marked
            if (best := values[place]) is not None
            for value in given
        ):
            return more
    return MOST_DECIMALS


def decimals(value: float) -> int:
    """Return how many decimals tables show: two, or three below 1."""
    return 2 if abs(value) >= 1 else 3
