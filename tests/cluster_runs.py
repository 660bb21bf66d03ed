"""What tests of runs on a cluster share: runs that wait to be disturbed, and those that one process makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.progress import SilentProgress
from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.states.attempts import Attempt, attempts
from bench.runs.states.state import RunState
from bench.task.declaration import Sources
from slurm.watch import submitted_states

PROFILE = """\
cpus_per_node = 1
memory_gb_per_node = 1.5
max_hours = 1
max_jobs = 8
signal_seconds = 30
"""

RECIPE: dict[str, Any] = {"iterations": 24, "batch_size": 4, "warmup": 2}
SET = [part for key, value in RECIPE.items() for part in ("--set", f"{key}={value}")]


def alone(
    methods: Sequence[str], seeds: Sequence[int], recipe: dict[str, Any], root: Path, cache: Path, *plugins: Path
) -> list[tuple[Run, Record]]:
    """The same runs on the tiny task in one undisturbed process."""
    catalogue = load_catalogue(plugins)
    task = catalogue.tasks.get("tiny")
    runner = Runner(catalogue, task.prepare(Sources(cache), SilentProgress()), SilentProgress())
    runs = [plan_run(catalogue, method, task, recipe, seed, root) for method in methods for seed in seeds]
    return [(run, runner.run(run)) for run in runs]


def values(record: Record | None) -> dict[str, list[float | None]]:
    """All that a record measured, by metric and repetition."""
    assert record is not None and record.error is None
    return {metric.name: list(metric.values) for metric in record.metrics}


def until(true: Callable[[], bool], seconds: float = 3600) -> None:
    """Wait until something is so; jobs start slowly on a busy machine."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@dataclass(frozen=True)
class GatedRun:
    """A run of the plug-in `gated` on a cluster: it waits in the middle of its training for what a test does."""

    run: Run
    gate: Path
    """The folder that BENCH_TEST_GATE named when it was submitted."""
    place: int = 0
    """In its array."""

    def reached(self, iteration: int = 9, restart: int = 0) -> int:
        """Wait until it waits; return its process."""
        path = self.gate / f"{self.place}-{iteration}-{restart}"
        until(path.exists)
        return int(path.read_text())

    def go(self) -> None:
        """Let it wait no more."""
        (self.gate / f"{self.place}-go").touch()

    def state(self) -> RunState:
        """Where it stands, as a new login would see it."""
        return states(self.run.root)[self.run.folder.resolve()]

    def ended(self) -> bool:
        """Whether nothing of it is under way."""
        return not self.state().under_way

    def tried(self, stage: str = "train") -> list[Attempt]:
        """What its jobs did in a stage."""
        return [one for one in attempts(self.run.folder) if one.stage == stage and one.node]

    def ends(self, stage: str = "train") -> list[str | None]:
        """How its jobs in a stage ended."""
        return [one.end for one in self.tried(stage)]


def states(runs: Path) -> dict[Path, RunState]:
    """Where all runs stand, by their folders."""
    return {state.folder: state for state in submitted_states(runs)}
