"""What tests of runs on a cluster share: the command line in this process, the runs as one process makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.plan import Run, plan_run
from bench.records import Record
from bench.registry import load_catalogue
from bench.runner import Runner
from tasks.progress import SilentProgress
from tasks.task import Sources

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
