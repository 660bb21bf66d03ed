"""The description of a metric, by which it is listed. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MetricInfo:
    """What `bench list metrics` and a table's heading say about a metric."""

    name: str
    title: str
    direction: Literal["lower", "higher"]
    """Which way is better."""
    min_samples: int
    """Below this many images the number is mostly noise or bias; only a smoke protocol goes on."""
    summary: str
    source: str
    implementation: str = ""
    """Import path of the class, `module:Class`; a class that a plug-in registers with its `info` leaves it out."""
    extractor: str = "main"
    """Feature extractor whose output it reads: a registered name, or `main`, the one that the protocol names."""
    needs_reference: bool = False
    """Whether it compares with the features of real images."""
