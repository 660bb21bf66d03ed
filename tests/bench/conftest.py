"""A prepared tiny task, made once, and a way to call the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import command
import pytest
from command import Printed
from tests_support import TINY_PLUGIN

from bench.core.progress import SilentProgress
from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.task.declaration import Sources

RECIPE = {"iterations": 24, "batch_size": 4, "warmup": 2, "pairs": 8}
"""Two dozen iterations: enough for every turn, checkpoint and progress point to happen."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of prepared assets for all tests of this process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """Everything installed, and the tiny task."""
    return load_catalogue([TINY_PLUGIN])


@pytest.fixture(scope="session")
def tiny(catalogue: Catalogue, cache: Path) -> PreparedTask:
    """The tiny task, prepared."""
    return catalogue.tasks.get("tiny").prepare(Sources(cache), SilentProgress())


@pytest.fixture
def plan(catalogue: Catalogue, tmp_path: Path) -> Callable[..., Run]:
    """Plan a run of a method on the tiny task, in a folder of its own."""

    def make(method: str = "dmd2", seed: int = 0, root: Path = tmp_path, **recipe: object) -> Run:
        return plan_run(catalogue, method, catalogue.tasks.get("tiny"), RECIPE | recipe, seed, root)

    return make


@pytest.fixture
def runner(catalogue: Catalogue, tiny: PreparedTask) -> Runner:
    """What executes runs on the tiny task."""
    return Runner(catalogue, tiny, SilentProgress())


@pytest.fixture
def bench(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_python: Path
) -> Callable[..., Printed]:
    """Call `bench ...` in this process, with this test's runs and the shared cache; its jobs start at once."""
    monkeypatch.setattr(sys, "executable", str(quick_python))
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.setenv("BENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "200")
    return command.bench
