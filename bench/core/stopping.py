"""Why work stops before its end: a scheduler's signals, which training obeys after its iteration and all else at
once, or numbers that are not finite."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""What schedulers send before they take a machine away: submitit's warning, and the last call of all."""


class Stopped(BaseException):
    """This process was asked to stop; the same command goes on from its files. No failure: no record says so."""

    def __init__(self, cause: signal.Signals) -> None:
        super().__init__(f"stopped by {cause.name}")
        self.cause = cause


class DivergedError(Exception):
    """Training reached a loss, a gradient or an image that is not finite; another try would reach it again."""


class UntrainedError(Exception):
    """Training ended without one update of the student: its images are those of the untrained copy."""


class StopSignal:
    """Hears whether this process should stop."""

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._deferred = False

    def hear(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002
        """Take note of a signal. Raises Stopped, unless that would tear work apart that is soon whole.

        The warning counts, whether the last call comes before it or after it: some schedulers send both.
        """
        if self.heard is not signal.SIGUSR2:
            self.heard = signal.Signals(number)
        if not self._deferred:
            raise Stopped(self.heard)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave it to the work inside when to stop: it looks at `heard`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False


@contextlib.contextmanager
def listening() -> Iterator[StopSignal]:
    """Hear the scheduler's signals while the work inside runs."""
    stop = StopSignal()
    before = {number: signal.signal(number, stop.hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
