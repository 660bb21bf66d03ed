"""The description of a metric for lists and tables. Imports neither torch nor numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ROUNDING = 1e-6
"""The part of a number's size by which rounding may change it: scores are kept in float32."""


@dataclass(frozen=True)
class MetricInfo:
    """The description of a metric that `bench list metrics` and a table's heading show."""

    name: str
    title: str
    direction: Literal["lower", "higher"]
    """Whether lower or higher values are better."""
    min_samples: int
    """With fewer images the number is mostly noise or bias; only a smoke protocol accepts it."""
    summary: str
    source: str
    implementation: str = ""
    """Import path of the class, `module:Class`; empty if a plug-in registers the class with its `info`."""
    extractor: str = "main"
    """The feature extractor whose output it reads: a registered name, or `main`, which the protocol names."""
    needs_reference: bool = False
    """Whether it compares with the features of other images."""
    compares_with: Literal["real", "teacher"] = "real"
    """Those images: real ones, or the teacher's (`Protocol.teacher_reference`)."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """The least and the greatest value that it can have; a record with another one is not accepted, but for
    rounding (`is_within`)."""


def is_within(value: float, span: tuple[float, float]) -> bool:
    """Whether a value is from one number to another; rounding may take it beyond either."""
    low, high = span
    return low - ROUNDING * max(1, abs(low)) <= value <= high + ROUNDING * max(1, abs(high))
