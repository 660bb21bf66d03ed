"""The requirements of a task as lines of text: each is present or missing, with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import UserError
from bench.runs.task_sources import sources_of

if TYPE_CHECKING:
    from bench.task.base import Task


class RequirementLine(NamedTuple):
    """One requirement of a task: its role, and its path or the command that gets it."""

    role: str
    text: str
    is_here: bool


def requirement_lines(task: Task, cache: Path | None) -> list[RequirementLine]:
    """Return the requirements of a task; if they cannot be looked up, one line shows the error."""
    try:
        found = task.requirements(sources_of(task, cache))
    except UserError as error:
        return [RequirementLine("data", f"BROKEN  {error}", False)]
    return [
        RequirementLine(one.role, f"{one.what}: {one.path or f'MISSING; fix: {one.fix}'}", one.path is not None)
        for one in found
    ]
