"""torch.compile for the networks of a method: whole, or block by block, with the graphs counted and timed."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

import torch
from torch import nn

from bench.core.errors import UserError
from bench.models.backbones.base import BackboneFamily
from bench.training.recipe import Recipe


def compile_network(network: nn.Module, recipe: Recipe) -> None:
    """Let a network be compiled as the recipe says, in place, when it first runs; or not at all.

    Blocks of one class and shape have one graph, whatever network they are in, since weights are inputs of a
    graph. They are compiled wherever they run, also where features are taken, and what is between them is not.
    Raises UserError for blocks of a family that names none.
    """
    if recipe.compile_backend == "none":
        return
    if recipe.compile_units == "network":
        network.compile(backend=recipe.compile_backend)
        return
    for backbone in [part for part in network.modules() if isinstance(part, BackboneFamily)]:
        blocks = list(backbone.repeated_blocks())
        if not blocks:
            raise UserError(
                f"compile_units=blocks would compile nothing: the backbone family {backbone.name!r} names no "
                "repeated_blocks; fix: --set compile_units=network"
            )
        for block in blocks:
            block.compile(backend=recipe.compile_backend, dynamic=False)


class CompileClock:
    """The graphs that torch.compile has made in this process, forward and backward, and the seconds they took."""

    def __init__(self) -> None:
        self.graphs = 0
        self.seconds = 0.0
        self.reached: int | None = None
        """The limit of graphs, if it was reached, so that something runs uncompiled."""
        self._begun = 0.0

    def start(self, _: object) -> None:
        """Note the beginning of a compilation."""
        self._begun = time.perf_counter()

    def end(self, _: object) -> None:
        """Note its end."""
        self.graphs += 1
        self.seconds += time.perf_counter() - self._begun

    @property
    def state(self) -> tuple[int, bool]:
        """What is new when it has changed: the number of graphs, and whether their limit was reached."""
        return self.graphs, self.reached is not None

    def __str__(self) -> str:
        made = f"compiled {self.graphs} graphs in {self.seconds:.0f} s"
        if self.reached is None:
            return made
        return (
            f"{made}; a network or class of blocks needs more than compile_graphs={self.reached}, and runs "
            f"uncompiled beyond them; --set compile_graphs={2 * self.reached} allows more"
        )


class _LimitHandler(logging.Handler):
    """Tell a clock that the limit of graphs was reached, of which torch says no more than a line in its log."""

    def __init__(self, clock: CompileClock, limit: int) -> None:
        super().__init__(logging.WARNING)
        self.clock = clock
        self.limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        if "hit config." in str(record.msg):
            self.clock.reached = self.limit


@contextlib.contextmanager
def compiling(recipe: Recipe, clock: CompileClock) -> Iterator[None]:
    """Within a `with` block, limit the graphs of one piece of code as the recipe says, and let a clock count them.

    The limit is one of graphs and not of seconds, so that a run that is repeated compiles the same. Raises
    UserError if inductor is to compile for a CPU and there is no C++ compiler.
    """
    if recipe.compile_backend == "none":
        yield
        return
    if recipe.compile_backend == "inductor" and not torch.cuda.is_available():
        _require_compiler()
    handler, most = torch._dynamo.callback.callback_handler, recipe.compile_graphs
    handler.register_start_callback(clock.start)
    handler.register_end_callback(clock.end)
    log, of_limit = logging.getLogger("torch._dynamo.convert_frame"), _LimitHandler(clock, most)
    log.addHandler(of_limit)
    try:
        with torch._dynamo.config.patch(recompile_limit=most, accumulated_recompile_limit=8 * most):
            yield
    finally:
        log.removeHandler(of_limit)
        handler.remove_start_callback(clock.start)
        handler.remove_end_callback(clock.end)


def _require_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise UserError(
            "compile_backend=inductor compiles C++ on a CPU, and there is no compiler g++ here, or the one that "
            "CXX names does not run; fix: install g++, or --set compile_backend=none"
        ) from None
