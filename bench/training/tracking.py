"""Send a run's log to trackers, which can be slow, absent or broken without any effect on the run.

Each tracker lives in a thread of its own; training hands it lines and goes on. A tracker that raises an exception
is named once in a warning and sent nothing more by this process; the next process completes it from the log.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from bench.core.errors import first_line
from bench.core.escape import printable
from bench.training.tracker import Line, TrackedRun, Tracker
from bench.training.trackers import FOLDER, TRACKERS, keep_local

OPEN_SECONDS = 30.0
"""Seconds to wait for a tracker to open before training begins without it."""
CLOSE_SECONDS = 60.0
"""Seconds to wait at the end for a tracker to write what it was sent."""
STOPPED_SECONDS = 5.0
"""The same for a run that is told to stop: the next job sends what is missing."""


class Tracking:
    """The trackers of one run. All calls return soon, whatever a tracker does."""

    def __init__(self, names: Sequence[str], run: TrackedRun, runs: Path) -> None:
        """`runs` is the folder of the runs, in which trackers have theirs."""
        self._threads = [_TrackerThread(TRACKERS[name], run, runs / FOLDER / name) for name in names]
        self._opened = False

    def open(self, lines: Sequence[Line]) -> None:
        """Open the trackers, and send them the lines of the log that they do not have."""
        self._opened = True
        for thread in self._threads:
            thread.open(lines)
        for thread in self._threads:
            thread.wait_until_open()

    def log(self, line: Line) -> None:
        """Send one more line of the log."""
        for thread in self._threads:
            thread.do(lambda tracker: tracker.log(line))

    def finish(self, lines: Sequence[Line], results: Mapping[str, float], picture: Path | None) -> None:
        """Send a run's results; trackers that were not opened for its training are opened now, with its log."""
        if not self._opened:
            self.open(lines)
        step = int(lines[-1]["iteration"]) if lines else 0
        for thread in self._threads:
            thread.do(lambda tracker: tracker.finish(results, picture, step))

    def close(self, stopped: bool = False) -> None:
        """Close what is open, and wait for it a while: a short one if the run is told to stop."""
        patience = STOPPED_SECONDS if stopped else CLOSE_SECONDS
        for thread in self._threads:
            thread.close()
        for thread in self._threads:
            thread.wait_until_closed(patience)


class _TrackerThread:
    """The thread that a tracker lives in."""

    def __init__(self, kind: type[Tracker], run: TrackedRun, folder: Path) -> None:
        self.kind = kind
        self.run = run
        self.folder = folder
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker {kind.name}", daemon=True)
        self._tracker: Tracker | None = None
        self._ready = threading.Event()
        self._failed = False

    def open(self, lines: Sequence[Line]) -> None:
        """Start the thread, and open the tracker in it."""
        self._calls.put(partial(self._open, lines))
        self._thread.start()

    def do(self, call: Callable[[Tracker], None]) -> None:
        """Do something with the tracker, once it has done what came before."""

        def work() -> None:
            if self._tracker is not None:
                call(self._tracker)

        self._calls.put(work)

    def close(self) -> None:
        """Close the tracker after all that came before."""
        self.do(lambda tracker: tracker.close())
        self._calls.put(None)

    def wait_until_open(self) -> None:
        """Wait for the tracker to open, but not for ever."""
        if not self._ready.wait(OPEN_SECONDS):
            self._warn(f"has not opened within {OPEN_SECONDS:.0f} seconds; what it is sent waits for it")

    def wait_until_closed(self, patience: float) -> None:
        """Wait for the tracker to close, but not for ever."""
        if self._thread.ident is None:  # it was never opened
            return
        self._thread.join(patience)
        if self._thread.is_alive():
            self._warn(f"has not written all within {patience:.0f} seconds and is left behind")

    def _open(self, lines: Sequence[Line]) -> None:
        keep_local(self.kind, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        tracker = self.kind(self.run, self.folder)
        tracker.open(lines)
        self._tracker = tracker
        for line in lines:
            tracker.log(line)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not self._failed:
                try:
                    call()
                except (Exception, SystemExit) as error:
                    self._failed = True
                    self._warn(f"failed: {type(error).__name__}: {first_line(error)}; the run goes on without it")
            self._ready.set()

    def _warn(self, what: str) -> None:
        print(printable(f"warning: tracker {self.kind.name} {what}"), file=sys.stderr, flush=True)
