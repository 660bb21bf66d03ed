"""The resources that the stages of a run ask of a cluster, read from resources.toml; imports no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

Stage = Literal["prepare", "train", "evaluate"]


@dataclass(frozen=True)
class Resources:
    """The resources of one job."""

    nodes: int = 1
    gpus: int = 0
    """GPUs of each node. Each process takes one; a node without GPUs has one process."""
    cpus: int = 1
    """CPUs of each node."""
    memory_gb: float = 4
    """Memory of each node, in GB."""
    hours: float = 1

    @property
    def processes(self) -> int:
        """Processes that work on the job together."""
        return self.nodes * max(1, self.gpus)

    @property
    def gpu_hours(self) -> float:
        """At most, without a requeue."""
        return self.nodes * self.gpus * self.hours

    @property
    def core_hours(self) -> float:
        """The same of a job without GPUs; 0 of one that has some, which cost more than its cores."""
        return 0 if self.gpus else self.nodes * self.cpus * self.hours


@lru_cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("resources.toml").read_text(encoding="utf-8"))


def resources(task: str, scale: str, stage: Stage) -> Resources:
    """Return what a stage asks for on a task: its own values, else those of its scale."""
    tables = _tables()
    return Resources(**{**tables[scale][stage], **tables.get(task, {}).get(stage, {})})
