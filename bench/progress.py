"""Progress of long work: bars for people at a terminal, plain lines for logs, a status file for others."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from tasks.files import write_text

STATUS_EVERY = 1.0
"""Seconds between two writes of the status file."""

PLAIN_EVERY = 30.0
"""Seconds between two lines in a log, where there is no terminal to draw on."""


def bars(console: Console) -> RichBars:
    """Return the columns that all our bars have."""
    return RichBars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", style="dim"),
        console=console,
        transient=not console.is_terminal,
    )


def figures_text(figures: dict[str, float]) -> str:
    """Format figures for the end of a bar: `dm 0.123  fd 4.56`."""
    return "  ".join(f"{name.removeprefix('loss/')} {value:.4g}" for name, value in figures.items())


class StatusProgress:
    """Progress that writes `status.json` in a run's folder, and a line now and then."""

    def __init__(self, path: Path | None, console: Console, draw: bool) -> None:
        """`path` is the status file, or None; `draw` shows bars (plain lines where there is no terminal)."""
        self.path = path
        self.console = console
        self.draw = draw
        self.state: dict[str, Any] = {}
        self._written = 0.0
        self._said = time.monotonic()
        self._bars: RichBars | None = None
        self._task: Any = None

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[StatusProgress]:
        """Open a bar of `total` steps."""
        self.state = {"stage": title, "total": total, "completed": completed, "figures": {}}
        self.state |= {"began": time.time(), "began_at": completed}
        begun = time.monotonic()
        if not (self.draw and self.console.is_terminal):
            self._write(force=True)
            yield self
            self._write(force=True)
        else:
            with bars(self.console) as drawn:
                self._bars = drawn
                self._task = drawn.add_task(title, total=total, completed=completed, figures="")
                try:
                    yield self
                finally:
                    self._bars = None
        if self.draw and not self.console.is_terminal:
            self.note(f"{title}: {total} in {time.monotonic() - begun:.0f} s")

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Say that `steps` are done."""
        self.state["completed"] += steps
        self.state["figures"].update(figures)
        if self._bars is not None:
            self._bars.update(self._task, advance=steps, figures=figures_text(self.state["figures"]))
        self._write()

    def note(self, text: str) -> None:
        """Say one line that stays."""
        if self.draw:
            self.console.print(text, highlight=False, markup=False)

    def _write(self, force: bool = False) -> None:
        now = time.monotonic()
        if self.path is not None and (force or now - self._written > STATUS_EVERY):
            self._written = now
            write_text(self.path, json.dumps({**self.state, "time": time.time()}) + "\n")
        if self.draw and not self.console.is_terminal and now - self._said > PLAIN_EVERY:
            self._said = now
            state = self.state
            self.note(f"{state['stage']}: {state['completed']}/{state['total']} {figures_text(state['figures'])}")
