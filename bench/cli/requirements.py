"""The requirements of a task as lines of text: each is present or missing, with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import UserError
from bench.runs.protocols.networks import network_requirements
from bench.runs.task_sources import sources_of

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue
    from bench.task.base import Task


class RequirementLine(NamedTuple):
    """One requirement of a task: its role, and its path or the command that gets it."""

    role: str
    text: str
    is_here: bool


def requirement_lines(task: Task, catalogue: Catalogue, cache: Path | None) -> list[RequirementLine]:
    """Return the requirements of a task and of its protocol's metrics, or one line with the error on the way."""
    sources = sources_of(task, cache)
    try:
        found = [*task.requirements(sources), *network_requirements(task, catalogue, sources.cache)]
    except UserError as error:
        return [RequirementLine("data", f"BROKEN  {error}", False)]
    return [
        RequirementLine(one.role, f"{one.what}: {one.path or f'MISSING; fix: {one.fix}'}", one.path is not None)
        for one in found
    ]
