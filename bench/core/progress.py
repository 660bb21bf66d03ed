"""The interface through which long work reports its progress; the command line draws it, tests ignore it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """One progress bar: a stage of long work with a known number of steps."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Report that `steps` are done; `figures` (a loss, a rate) are shown beside the bar."""


class Progress(Protocol):
    """A place where long work reports how far it is."""

    def bar(self, title: str, total: int, completed: int = 0) -> contextlib.AbstractContextManager[Bar]:
        """Open a bar of `total` steps."""

    def note(self, text: str) -> None:
        """Print one line that stays on the screen."""


class SilentProgress:
    """Progress that is not shown anywhere."""

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[SilentProgress]:  # noqa: ARG002
        """Open a bar that shows nothing."""
        yield self

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
