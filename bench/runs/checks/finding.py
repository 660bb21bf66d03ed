"""One finding of a check: what is wrong with a record, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench.core.escape import printable

Level = Literal["error", "warning", "note"]
"""error: the record is not accepted; warning: a reviewer must look at it; note: it could not be checked."""

UNCHANGED = "send the record that bench wrote, unchanged"
"""The fix of what only a change by hand, or by another program, can have caused."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found."""

    level: Level
    what: str
    """What is wrong, with the value."""
    fix: str = ""

    def __str__(self) -> str:
        return printable(f"{self.level}: {self.what}" + (f"; fix: {self.fix}" if self.fix else ""))


def error(what: str, fix: str = "") -> Finding:
    """Return a finding for which the record is not accepted."""
    return Finding("error", what, fix)


def warning(what: str, fix: str = "") -> Finding:
    """Return a finding that a reviewer must look at."""
    return Finding("warning", what, fix)


def note(what: str, fix: str = "") -> Finding:
    """Return a finding about something that could not be checked."""
    return Finding("note", what, fix)


def shortened(value: Any, most: int = 80) -> str:
    """Return a value as Python writes it, cut to a length that fits a line."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
