"""Pending runs: runs and evaluations that were started and have no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.files import read_object
from bench.core.run_folder import PLAN, RECORD
from bench.runs.record import MethodInfo
from bench.runs.states.state import RunState, run_state

StateLookup = Callable[[Path], RunState]
"""A function that returns the state of the run in a folder."""
_OPTIONAL = {"origin": "", "distiller": "", "passed": {}, "recipe": {}}
"""What a plan need not say of its method."""


@dataclass(frozen=True)
class PendingRun:
    """A run or an evaluation without a result."""

    kind: Literal["method", "baseline"]
    planned: MethodInfo
    """The method with its recipe, or the sampler."""
    protocol: str
    """Name of the protocol."""
    seed: int | None
    at: RunState

    @property
    def method(self) -> str:
        """Name of the method or of the sampler."""
        return self.planned.name

    def __str__(self) -> str:
        where = "" if self.at.completed is None else f" at {self.at.stage} {self.at.completed}/{self.at.total}"
        return f"{self.at.state}{where}" + (f": {self.at.reason}" if self.at.reason else "")


def pending_runs(root: Path, task: str, lookup: StateLookup = run_state) -> list[PendingRun]:
    """Return the pending runs of a task, sorted by folder; a run that is being repeated counts."""
    folders = sorted(path.parent for path in (root / task).glob(f"*/{PLAN}"))
    return [one for folder in folders if (one := read_pending(folder, lookup)) is not None]


def read_pending(folder: Path, lookup: StateLookup = run_state) -> PendingRun | None:
    """Read a pending run from its folder; None if it has a record or was never started."""
    about = read_object(folder / PLAN)
    if about is None or not about.keys() >= {"name", "protocol", "seed"}:
        return None
    protocol, seed = about["protocol"], about["seed"]
    if not isinstance(protocol, dict) or not isinstance(protocol.get("name", ""), str):
        return None
    if not isinstance(seed, int | None):
        return None
    try:
        planned = MethodInfo.model_validate(
            {**_OPTIONAL, **{key: about[key] for key in MethodInfo.model_fields & about.keys()}}
        )
    except ValueError:
        return None
    at = lookup(folder)
    if not at.under_way and (folder / RECORD).exists():
        return None
    kind = about.get("kind", "baseline" if seed is None else "method")
    return PendingRun(kind, planned, protocol.get("name", ""), seed, at)
