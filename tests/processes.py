"""Several processes that work together through gloo, forked from the test: they start at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState


def in_processes(count: int, work: Callable[[], object], seconds: float = 300) -> None:
    """Do `work` in `count` processes as torchrun starts them; raises AssertionError if one of them fails.

    `seconds` is the time they have.
    """
    with started(count, work) as children:
        for child in children:
            child.join(timeout=seconds)
    assert [child.exitcode for child in children] == [0] * count


@contextlib.contextmanager
def started(count: int, work: Callable[[], object]) -> Iterator[list[ForkProcess]]:
    """Start `work` in `count` processes as torchrun does; kill those that are alive at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_join, args=(rank, count, port, work)) for rank in range(count)]
    for child in children:
        child.start()
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.join()


def _join(rank: int, count: int, port: int, work: Callable[[], object]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(count),
        LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    # A fork has to make torch's thread pool anew, before gloo's threads do so at the same time and abort.
    torch.set_num_threads(torch.get_num_threads())
    for state in (PartialState, AcceleratorState, GradientState):
        state._reset_state()
    try:
        assert PartialState(cpu=True).num_processes == count
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
