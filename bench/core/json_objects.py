"""Objects of JSON whose keys are there once: Python's reader keeps the last of equal keys without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


class RepeatedKeyError(ValueError):
    """An object of JSON has a key twice, so that one of its values would be lost."""

    def __init__(self, key: str) -> None:
        super().__init__(f"it has the key {key!r:.80} twice")
        self.key = key


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first of the names that are there more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its pairs, as the hook of `json.loads`. Raises RepeatedKeyError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = first_repeated(key for key, _ in pairs)
        assert twice is not None
        raise RepeatedKeyError(twice)
    return found
