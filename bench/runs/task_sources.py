"""The task that is meant, with what is pinned for it, and where it looks for its files. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import UserError
from bench.task.base import Sources, Task, default_cache


def pinned_task(task: Task, cache: Path | None, protocol: str | None = None) -> Task:
    """Return a task with what is pinned for it in the cache, under a protocol. Raises UserError."""
    found = task.located(cache or default_cache())
    return found.under(protocol or found.protocol.name)


def sources_of(task: Task, cache: Path | None, data: Path | None = None, download: bool = False) -> Sources:
    """Say where a task looks for its files. Raises UserError if only bench prepare may be given them.

    Where all that the task runs on is pinned, `download` lets baselines get weights of their own.
    """
    found = Sources(cache or default_cache(), data, download)
    if task.pinned_by_prepare and (data is not None or (download and task.lacks(found))):
        named = [f"--data {data}"] * (data is not None) + ["--download"] * download
        raise UserError(
            f"task {task.name!r} runs on what was chosen for it once, before runs are planned; first: "
            f"bench prepare --task {task.name} {' '.join(named)}"
        )
    return found
