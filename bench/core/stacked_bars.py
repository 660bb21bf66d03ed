"""Progress of work with parts: a bar for the whole, and one for the part that is done now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress as RichBars
from rich.progress import TaskID

from bench.core.escape import printable
from bench.core.progress_bars import StatusProgress, bars, figures_text


class StackedProgress:
    """Progress as bars below each other at a terminal; elsewhere each part has its lines."""

    def __init__(self, console: Console | None = None) -> None:
        """`console` is that of stderr by default."""
        self.console = console or Console(stderr=True)
        self._plain = StatusProgress(self.console)
        self._bars: RichBars | None = None

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[StackedBar | StatusProgress]:
        """Open a bar of `total` steps, below those that are open."""
        if not self.console.is_terminal:
            with self._plain.bar(title, total, completed) as plain:
                yield plain
            return
        with contextlib.ExitStack() as stack:
            outermost = self._bars is None
            if self._bars is None:
                self._bars = stack.enter_context(bars(self.console))
                stack.callback(self._close)
            drawn = self._bars
            task = drawn.add_task(printable(title), total=total, completed=completed, figures="")
            if not outermost:
                stack.callback(drawn.remove_task, task)
            yield StackedBar(drawn, task)

    def _close(self) -> None:
        self._bars = None

    def note(self, text: str) -> None:
        """Print one line that stays on the screen."""
        self._plain.note(text)


class StackedBar:
    """One of the bars at a terminal."""

    def __init__(self, drawn: RichBars, task: TaskID) -> None:
        self.drawn = drawn
        self.task = task
        self.figures: dict[str, float] = {}

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Report that `steps` are done."""
        self.figures.update(figures)
        self.drawn.update(self.task, advance=steps, figures=figures_text(self.figures))
