"""The outcome of one known-answer test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import UserError, first_line

Part = Literal["arithmetic", "resize", "metric", "extractor", "reference"]
Outcome = Literal["ok", "FAILED", "not checked"]


@dataclass(frozen=True)
class Checked:
    """One test: what was expected and found, or why there is no number."""

    part: Part
    name: str
    """The metric, extractor, reference, device or package that was tested."""
    case: str
    expected: float | None = None
    found: float | None = None
    tolerance: float | None = None
    """The greatest absolute difference that is right."""
    outcome: Outcome = "ok"
    reason: str = ""
    """Why it failed without a number, or was not checked."""

    @property
    def difference(self) -> float | None:
        """Return the absolute difference of what was found; None without numbers."""
        return None if self.found is None or self.expected is None else abs(self.found - self.expected)


def compared(
    part: Part, name: str, case: str, expected: float, tolerance: float, find: Callable[[], float]
) -> Checked:
    """Run a test, and compare what it finds. Whatever it raises is a failure, and no end of the other tests."""
    try:
        found = float(find())
    except Exception as error:  # a broken library, or a stranger's plug-in, may raise anything
        return failed(part, name, case, error)
    right = math.isfinite(found) and abs(found - expected) <= tolerance
    return Checked(part, name, case, expected, found, tolerance, "ok" if right else "FAILED")


def failed(part: Part, name: str, case: str, error: Exception) -> Checked:
    """Return the outcome of a test that raised an error; where a package of an extra is missing, none was made."""
    if isinstance(error, UserError) and isinstance(error.__cause__, ImportError):
        return left_out(part, name, case, str(error))
    what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
    return Checked(part, name, case, outcome="FAILED", reason=what)


def left_out(part: Part, name: str, case: str, reason: str) -> Checked:
    """Return the outcome of a test that cannot run here, or does not exist."""
    return Checked(part, name, case, outcome="not checked", reason=reason)
