"""How far torch.compile is, of which the package itself tells only at the end of an iteration."""

from __future__ import annotations

from rows import show

from bench.training.compiling import CompileClock

EVERY = 20


class ToldClock(CompileClock):
    """The package's clock, which tells of every twentieth graph: one iteration may need many, and minutes."""

    def end(self, reason: object) -> None:
        super().end(reason)
        if self.graphs % EVERY == 0:
            show(f"  {self} so far", graphs=self.graphs, compile_seconds=self.seconds)
