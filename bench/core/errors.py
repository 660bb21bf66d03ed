"""The error a user sees: one line, no traceback, with the nearest valid names and what mends it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a missing prerequisite that the user can mend; the command line prints its text alone."""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its kind: libraries go on for pages, a user reads one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def listed(names: Iterable[object], limit: int = 4) -> str:
    """Name the first few of many in a line: `a, b, c, d and 7 more`."""
    every = [str(name) for name in names]
    if not every:
        return "nothing"
    return ", ".join(every[:limit]) + (f" and {len(every) - limit} more" if len(every) > limit else "")


def counted(count: float, thing: str) -> str:
    """Name so many of a thing: `1 job`, `0.5 hours`."""
    return f"{count:g} {thing}{'s' * (count != 1)}"


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` members of `valid` that look most like `name`, best first."""
    return difflib.get_close_matches(name, list(valid), n=limit, cutoff=0.4)


def hint(name: str, valid: Iterable[str]) -> str:
    """Name the members of `valid` that look most like `name`, or all if none does."""
    choices = list(valid)
    close = nearest(name, choices)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"valid: {', '.join(choices)}" if choices else "there are none"


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Build the error for a name that is not among `valid`: the name, the nearest ones, or all if few."""
    return UserError(f"unknown {kind} {name!r}; {hint(name, sorted(valid))}")
