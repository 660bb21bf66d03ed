"""Sources of images that stop in the middle, and progress that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from bench.core.progress import SilentProgress
from bench.data.altered import Decoded


class Stops:
    """A source that reads another and stops at its image `stop_at`, as a kill does; `seen` are those before."""

    inner: Any
    stop_at: int | None
    seen: list[int]

    def name(self, index: int) -> str:
        name: str = self.inner.name(index)
        return name

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        for index, image in zip(range(start, stop), self.inner.read(start, stop), strict=True):
            if index == self.stop_at:
                raise KeyboardInterrupt
            self.seen.append(index)
            yield image


class Noted(SilentProgress):
    """Progress that keeps its notes, its bars (title, total, completed) and the steps that were made."""

    def __init__(self) -> None:
        self.notes, self.bars, self.advanced = list[str](), list[tuple[str, int, int]](), 0

    def bar(self, title: str, total: int, completed: int = 0) -> AbstractContextManager[SilentProgress]:
        self.bars.append((title, total, completed))
        return super().bar(title, total, completed)

    def advance(self, steps: int = 1, **_: float) -> None:
        self.advanced += steps

    def note(self, text: str) -> None:
        self.notes.append(text)
