"""Helpers for runs of several processes: the first process works, and all get its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from rich.console import Console

from bench.core.progress import Progress, SilentProgress
from bench.core.progress_bars import StatusProgress
from bench.core.run_folder import STATUS

T = TypeVar("T")


def from_main(compute: Callable[[], T]) -> T:
    """Run `compute` in the first process and return its result in all of them; if it raises, all raise."""
    state = PartialState()
    if state.num_processes == 1:
        return compute()
    shared: list[T | Exception | None] = [None]
    if state.is_main_process:
        try:
            shared = [compute()]
        except Exception as error:
            shared = [error]
    (found,) = broadcast_object_list(shared)
    if isinstance(found, Exception):
        raise found
    return found


def join_workers(folder: Path) -> Progress:
    """Connect to the other processes of this run, if any, and return where progress is shown.

    The first process writes the run's status file and log; the others are silent. Without GPUs the processes
    communicate through gloo.
    """
    if not PartialState(cpu=not torch.cuda.is_available()).is_main_process:
        return SilentProgress()
    folder.mkdir(parents=True, exist_ok=True)
    return StatusProgress(Console(width=200), folder / STATUS)
