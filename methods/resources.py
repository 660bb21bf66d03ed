"""What the stages of a run ask of a cluster, read from the recipes; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.catalogue import recipe_data

Stage = Literal["prepare", "train", "evaluate"]


@dataclass(frozen=True)
class Resources:
    """What one job asks for."""

    nodes: int = 1
    gpus: int = 0
    """Of each node; one process takes one, and without any there is one process a node."""
    cpus: int = 1
    """Of each node."""
    memory_gb: float = 4
    """Of each node."""
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


def resources(task: str, scale: str, stage: Stage) -> Resources:
    """Return what a stage asks for on a task: its own values, else those of its scale."""
    table = recipe_data()["resources"]
    values = {**table[scale][stage], **table.get(task, {}).get(stage, {})}
    return Resources(**values)
