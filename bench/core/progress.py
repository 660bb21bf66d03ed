"""Progress on long work, as the tasks see it; the command line draws it, tests ignore it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """One unit of long work."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Say that `steps` are done; `figures` (a loss, a rate) stand beside the bar."""


class Progress(Protocol):
    """Where long work says how far it is."""

    def bar(self, title: str, total: int, completed: int = 0) -> contextlib.AbstractContextManager[Bar]:
        """Open a bar of `total` steps."""

    def note(self, text: str) -> None:
        """Say one line that stays."""


class SilentProgress:
    """Progress that nobody looks at."""

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[SilentProgress]:  # noqa: ARG002
        """Open a bar that shows nothing."""
        yield self

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
