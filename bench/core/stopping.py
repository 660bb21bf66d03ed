"""Reasons to stop work early: a scheduler's signals, or numbers that are not finite.

Training obeys a signal after the current iteration; all other work stops at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""The signals that schedulers send before they take a machine away: submitit's warning, then the last call."""


INTERRUPTS = (*SIGNALS, signal.SIGINT, signal.SIGHUP)
"""The signals that end a command."""


@contextlib.contextmanager
def noting_interrupts() -> Iterator[list[float]]:
    """Note the times (of time.monotonic) of signals that would interrupt the work inside, which goes on.

    Signals that are ignored, or end this process at once, do so still.
    """
    noted: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # there no signal interrupts it
        return
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda *_: noted.append(time.monotonic()))
    try:
        yield noted
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def exit_code(cause: int) -> int:
    """Return the exit code of a program that a signal ended, as shells and schedulers expect: 128 + its number."""
    return 128 + cause


class Stopped(BaseException):
    """This process was asked to stop; the same command continues from its files. This is not a failure."""

    def __init__(self, cause: signal.Signals) -> None:
        super().__init__(f"stopped by {cause.name}")
        self.cause = cause


class Interrupted(KeyboardInterrupt):
    """A user or a signal ends the command. A plain KeyboardInterrupt may also be raised by foreign code."""


class DivergedError(Exception):
    """Training reached a loss, a gradient or an image that is not finite, or an alarm that its recipe calls fatal.

    Another attempt would do the same.
    """


class UntrainedError(Exception):
    """Training ended without a single update of the student: its images are those of the untrained copy."""


class StopSignal:
    """A flag that is set when this process receives a signal to stop."""

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._deferred = False
        self._limit: float | None = None
        self._counting = False

    def hear(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002
        """Handle a signal: record it, and raise Stopped unless the work inside `deferred` decides when to stop.

        If both signals come, in either order, the warning is the one that is recorded.
        """
        if self.heard is not signal.SIGUSR2:
            self.heard = signal.Signals(number)
        if not self._deferred:
            raise Stopped(self.heard)
        self._count_down()

    def obey(self) -> None:
        """Raise Stopped if a signal came while the work inside `deferred` went on to its end."""
        if self.heard is not None:
            raise Stopped(self.heard)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the work inside decide when to stop: it checks `heard` itself."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the work inside with Stopped `seconds` after a signal: it may never end by itself."""
        self._limit = seconds
        if self.heard is not None:
            self._count_down()
        try:
            yield
        finally:
            self._limit = None
            if self._counting:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._counting = False

    def _count_down(self) -> None:
        """Have the limit's time pass, once; another signal does not begin it anew."""
        if self._limit is not None and not self._counting:
            self._counting = True
            signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, self._limit)

    def _expire(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._limit is not None and self.heard is not None:
            raise Stopped(self.heard)


@contextlib.contextmanager
def listening() -> Iterator[StopSignal]:
    """Handle the scheduler's signals while the work inside runs."""
    stop = StopSignal()
    before = {number: signal.signal(number, stop.hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
