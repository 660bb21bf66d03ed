"""The states of jobs that left the queue."""

from __future__ import annotations

import os
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
"""Output of sacct of Slurm 22.05 for jobs that succeeded (001), exited with 3 (002), were cancelled (003), ran out
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
    monkeypatch.setattr(queue, "_told", {})
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


def counting(folder: Path, *names: str) -> Path:
    """Have commands note that they are called, and how; return the file of the notes."""
    for name in names:
        script = folder / name
        script.write_text(
            script.read_text().replace("#!/bin/sh\n", f'#!/bin/sh\necho {name} "$@" >> {folder}/calls\n')
        )
    return folder / "calls"


def test_a_look_asks_the_controller_once_and_the_accounts_once_in_all(commands: Path) -> None:
    calls = counting(commands, "squeue", "sacct")
    for _ in range(3):
        jobs = queue.all_jobs()
        assert ended_states(["15946002", "15946016_3"], jobs) == {
            "15946002": "FAILED",
            "15946016_3": "CANCELLED by 0",
        }
    asked = [line.split()[0] for line in calls.read_text().splitlines()]
    assert asked == ["squeue", "sacct", "squeue", "squeue"]


def test_what_has_ended_is_not_under_way_and_what_is_not_known_to_have_ended_is(commands: Path) -> None:
    states = ["PENDING", "RUNNING", "COMPLETING", "REQUEUE_HOLD", "A_NEW_STATE", *queue.ENDED]
    lines = [f"{number}|bench-x|{state}|None|n1" for number, state in enumerate(states)]
    command(commands, "squeue", "\n".join([*lines, "99|another|RUNNING|None|n1"]) + "\n")
    assert list(queue.queued_jobs()) == ["0", "1", "2", "3", "4"]


def test_jobs_of_other_users_are_asked_for_with_ours(commands: Path) -> None:
    calls = counting(commands, "squeue")
    queue.all_jobs(["alice"])
    queue.all_jobs()
    first, second = calls.read_text().splitlines()
    assert f"--user={','.join(sorted({str(os.getuid()), 'alice'}))}" in first and "--me" in second
