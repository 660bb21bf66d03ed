"""What is known of jobs that the queue has forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import queue
from slurm.queue import ended_states

ACCOUNTS = """\
15946001|COMPLETED
15946002|FAILED
15946003|CANCELLED by 0
15946004|TIMEOUT
15946007|CANCELLED
15946010|NODE_FAIL
15946005_0|COMPLETED
15946005_1|FAILED
15946006_[0-2]|CANCELLED by 0
15946008_0|RUNNING
15946008_[1,3%1]|PENDING
15946009|REQUEUED
15946014_0|COMPLETED
15946014_1|CANCELLED
15946016_0|CANCELLED by 0
15946016_[1-3%1]|CANCELLED by 0
"""
"""What sacct of Slurm 22.05 says of jobs that succeeded (001), exited with 3 (002), were cancelled (003), ran out
of time (004), waited for one that failed (007), were put back (009) or lost their node (010); of arrays that ran
(005), were cancelled before they began (006) or while one of them ran (016), are under way but for element 2, that
was cancelled (008), or of which each waited for its own of 005 (014)."""


def command(folder: Path, name: str, text: str) -> None:
    """A command of Slurm that prints a text."""
    (folder / f"{name}.txt").write_text(text)
    (folder / name).write_text(f"#!/bin/sh\n/bin/cat {folder}/{name}.txt\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster whose queue has forgotten all, and whose accounts know all."""
    command(tmp_path, "squeue", "")
    command(tmp_path, "sacct", ACCOUNTS)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("001", "COMPLETED"),
        ("002", "FAILED"),
        ("003", "CANCELLED by 0"),
        ("004", "TIMEOUT"),
        ("007", "CANCELLED"),
        ("010", "NODE_FAIL"),
        ("005_0", "COMPLETED"),
        ("005_1", "FAILED"),
        ("006_2", "CANCELLED by 0"),
        ("014_1", "CANCELLED"),
        ("016_0", "CANCELLED by 0"),
        ("016_3", "CANCELLED by 0"),
    ],
)
@pytest.mark.usefixtures("commands")
def test_accounts_tell_how_jobs_ended(job: str, said: str) -> None:
    assert ended_states([f"15946{job}"]) == {f"15946{job}": said}


@pytest.mark.usefixtures("commands")
def test_accounts_that_are_behind_tell_nothing() -> None:
    assert ended_states(["15946008_0", "15946008_2", "15946009"]) == {}


def test_what_the_queue_says_goes_before_the_accounts(commands: Path) -> None:
    command(commands, "squeue", "15946002|bench-x-train|OUT_OF_MEMORY|None|n1\n")
    assert ended_states(["15946002"]) == {"15946002": "OUT_OF_MEMORY"}


def test_without_accounts_nothing_is_known(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (commands / "sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n")
    assert ended_states(["15946001"]) == {}
    monkeypatch.setattr(queue, "SECONDS", 0.1)
    (commands / "sacct").write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    assert ended_states(["15946001"]) == {}
    (commands / "sacct").unlink()
    assert ended_states(["15946001"]) == {}
