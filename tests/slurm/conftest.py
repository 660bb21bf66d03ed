"""A real Slurm for tests: one a worker, on ports of its own, so that several run side by side."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_runs import PROFILE
from one_machine_slurm.cluster import Cluster, missing_commands
from stub_slurm import INSIDE_A_JOB

from bench.core.errors import UserError, first_line


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Slurm: `-m slurm` runs only that, `-m "not slurm"` all else."""
    for item in items:
        if isinstance(item, pytest.Function) and {"own_cluster", "running_cluster"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slurm)


def _stop_abandoned() -> None:
    """Stop the clusters of test runs that were killed before they could."""
    for root in Path("/tmp").glob("slurm-test-*-*"):
        # Another worker may be doing the same, and the folder go meanwhile.
        with contextlib.suppress(OSError):
            if root.stat().st_uid == os.getuid() and not Path("/proc", root.name.split("-")[2]).exists():
                Cluster(root).stop()
                shutil.rmtree(root)


@contextlib.contextmanager
def _lent_cluster() -> Iterator[Cluster]:
    """A cluster that is not started yet, and is stopped and removed at the end."""
    if missing := missing_commands():
        pytest.skip(f"Slurm is not installed (no {', '.join(missing)}): slurm/install.sh installs it")
    _stop_abandoned()
    # pytest's own folders are too long for the path of a socket.
    root = Path(tempfile.mkdtemp(prefix=f"slurm-test-{os.getpid()}-", dir="/tmp"))
    cluster = Cluster(root)
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(root)


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, which the test starts."""
    with _lent_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """The cluster of this worker: two nodes with two GPUs each, started once; tests take `cluster`.

    Where Slurm is installed but does not start, its tests are skipped; the one of starting it fails, and says why.
    """
    with _lent_cluster() as cluster:
        try:
            cluster.start()
        except UserError as error:
            pytest.skip(f"Slurm does not start on this machine: {first_line(error)}")
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A running cluster, its queue empty and its nodes idle, to which this process's Slurm commands speak.

    They are given inside a job of another kind, as users give them in salloc or in a notebook.
    """
    for name, value in {**INSIDE_A_JOB, **running_cluster.exports}.items():
        monkeypatch.setenv(name, value)
    yield running_cluster
    running_cluster.clear()


@pytest.fixture(scope="session")
def profile(quick_python: Path) -> str:
    """A profile of the running cluster, whose jobs start at once."""
    # Inside a job CUDA_VISIBLE_DEVICES is that job's, and so the one that hides GPUs from tests is not passed on.
    python = shlex.join(["env", "CUDA_VISIBLE_DEVICES=", str(quick_python)])
    return f"python = {python!r}\n{PROFILE}"
