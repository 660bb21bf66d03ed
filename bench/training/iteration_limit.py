"""How long an iteration may go on after a signal to stop: one that hangs would do so for ever."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.core.stopping import StopSignal

LEAST_SECONDS = 5.0
"""Seconds for which a signal waits for the end of an iteration at least."""
TIMES = 5
"""An iteration that takes so many times as long as any before hangs."""


class IterationLimit:
    """Ends an iteration in the middle if it hangs and a signal has come."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._longest: float | None = None

    @contextlib.contextmanager
    def iteration(self) -> Iterator[None]:
        """Train one iteration inside. Raises Stopped within it."""
        began = time.perf_counter()
        with self._stop.within(max(LEAST_SECONDS, TIMES * (self._longest or 0.0))):
            yield
        # The first one of a process compiles and allocates; were it ended in the middle, nothing would be lost.
        self._longest = 0.0 if self._longest is None else max(self._longest, time.perf_counter() - began)
