"""What is said of an option of a scheduler's configuration, of whichever family the pipeline is."""

from __future__ import annotations

from typing import Any

from bench.core.errors import UserError
from bench.core.escape import printable


def shown(value: Any) -> str:
    """Return a value of a configuration as one short text for a message."""
    return printable(repr(value))[:80]


def unknown_option(key: str, value: Any, known: str, fix: str = "name a model with such a scheduler") -> UserError:
    """Return the error that an option has another value than the known one, which is written as it is."""
    return UserError(f"the scheduler's {key} is {shown(value)}; only {known} is known here; fix: {fix}")
