"""What a task needs and what of it is here, as lines for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import UserError
from bench.runs.task_sources import sources_of

if TYPE_CHECKING:
    from bench.task.base import Task


class NeedLine(NamedTuple):
    """One thing that a task needs: its role, where it is or how to get it."""

    role: str
    text: str
    is_here: bool


def need_lines(task: Task, cache: Path | None) -> list[NeedLine]:
    """Say what a task needs; what cannot even be looked for is broken."""
    try:
        needs = task.requirements(sources_of(task, cache))
    except UserError as error:
        return [NeedLine("data", f"BROKEN  {error}", False)]
    return [
        NeedLine(need.role, f"{need.what}: {need.path or f'MISSING; {need.fix}'}", need.path is not None)
        for need in needs
    ]
