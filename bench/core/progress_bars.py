"""Show the progress of long work: bars at a terminal, plain lines in logs, a status file for other commands."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from bench.core.escape import printable
from bench.core.status import Status
from bench.core.stopping import Stopped

STATUS_EVERY = 1.0
"""Seconds between two writes of the status file."""

PLAIN_EVERY = 30.0
"""Seconds between two lines in a log, when there is no terminal for bars."""


def bars(console: Console) -> RichBars:
    """Return progress bars with the columns that all our bars have."""
    return RichBars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
        console=console,
        transient=not console.is_terminal,
    )


def figures_text(figures: dict[str, float]) -> str:
    """Format figures for the end of a bar: `dm 0.123  fd 4.56`."""
    return printable("  ".join(f"{name.removeprefix('loss/')} {value:.4g}" for name, value in figures.items()))


class StatusProgress:
    """Progress as bars at a terminal and as occasional lines elsewhere; it can keep a status file as well."""

    def __init__(self, console: Console | None = None, path: Path | None = None) -> None:
        """`console` is that of stderr by default; `path` is the status file, or None."""
        self.console = console or Console(stderr=True)
        self.path = path
        self.status = Status("", 0, 0)
        self._written = 0.0
        self._said = time.monotonic()
        self._bars: RichBars | None = None
        self._task = TaskID(0)

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[StatusProgress]:
        """Open a bar of `total` steps."""
        self.status = Status(title, total, completed, began=time.time(), began_at=completed)
        begun = time.monotonic()
        if not self.console.is_terminal:
            self._write(force=True)
            try:
                yield self
            except Stopped:  # after a checkpoint, of which the status tells as much
                self._write(force=True)
                raise
            self._write(force=True)
            self.note(f"{title}: {total} in {time.monotonic() - begun:.0f} s")
            return
        with bars(self.console) as drawn:
            self._bars = drawn
            self._task = drawn.add_task(title, total=total, completed=completed, figures="")
            try:
                yield self
            finally:
                self._bars = None

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Report that `steps` are done."""
        self.status.completed += steps
        self.status.figures.update(figures)
        if self._bars is not None:
            self._bars.update(self._task, advance=steps, figures=figures_text(self.status.figures))
        self._write()

    def note(self, text: str) -> None:
        """Print one line that stays on the screen."""
        self.console.print(printable(text, lines=True), highlight=False, markup=False)

    def _write(self, force: bool = False) -> None:
        now, status = time.monotonic(), self.status
        if self.path is not None and (force or now - self._written > STATUS_EVERY):
            self._written = now
            status.write(self.path)
        if not self.console.is_terminal and now - self._said > PLAIN_EVERY:
            self._said = now
            self.note(f"{status.stage}: {status.completed}/{status.total} {figures_text(status.figures)}")
