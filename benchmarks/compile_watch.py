"""How far torch.compile is, and whether it met its limit of graphs: what is beyond that runs uncompiled."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from rows import show

from bench.training.compiling import CompileClock

EVERY = 20
MESSAGE = "torch._dynamo hit config."


class ToldClock(CompileClock):
    """The package's clock, which tells of every twentieth graph: one iteration may need many, and minutes."""

    def end(self, reason: object) -> None:
        super().end(reason)
        if self.graphs % EVERY == 0:
            show(f"  {self} so far", graphs=self.graphs, compile_seconds=self.seconds)


class _Limits(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(MESSAGE):
            self.found.append(text.removeprefix(MESSAGE).splitlines()[0])


@contextlib.contextmanager
def limits_met() -> Iterator[list[str]]:
    """Yield a list that grows by an entry for each piece of code that meets a limit within the `with` block."""
    limits, logger = _Limits(), logging.getLogger("torch._dynamo")
    logger.addHandler(limits)
    try:
        yield limits.found
    finally:
        logger.removeHandler(limits)
