"""The error that a user sees: one line without a traceback, with the nearest valid names and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a missing prerequisite that the user can fix; the command line prints only its text."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its class if it has no text, to keep messages short."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def without_fix(error: BaseException | str) -> str:
    """Return the text of an error without its fix, where another one suits better."""
    return str(error).partition("; fix:")[0]


def with_fix(error: BaseException, fix: str) -> str:
    """Return the text of an error, with this fix unless it has one of its own."""
    return str(error) if "fix: " in str(error) else f"{error}; fix: {fix}"


def listed(names: Iterable[object], limit: int = 4, between: str = ", ") -> str:
    """List the first few names on one line: `a, b, c, d and 7 more`."""
    every = [str(name) for name in names]
    if not every:
        return "nothing"
    return between.join(every[:limit]) + (f" and {len(every) - limit} more" if len(every) > limit else "")


def counted(count: float, noun: str) -> str:
    """Write a count with its noun: `1 job`, `0.5 hours`."""
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun}{'s' * (count != 1)}"


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` members of `valid` that look most like `name`, best first."""
    return difflib.get_close_matches(name, list(valid), n=limit, cutoff=0.4)


def hint(name: str, valid: Iterable[str]) -> str:
    """Suggest the members of `valid` that look most like `name`, or list them all if none does."""
    choices = list(dict.fromkeys(valid))  # a task and its data set may have one name
    close = nearest(name, choices)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"valid: {', '.join(choices)}" if choices else "there are none"


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Build the error for a name that is not in `valid`; it suggests the nearest names or lists them all."""
    return UserError(f"unknown {kind} {name!r}; {hint(name, sorted(valid))}")
