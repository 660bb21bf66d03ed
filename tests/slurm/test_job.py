"""A job that receives the signal to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from bench.core.run_folder import LOG
from bench.jobs.spec import JobSpec
from bench.runs.states.attempts import attempts
from slurm import job as slurm_job
from slurm.job import SlurmJob


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """This process as submitit's in a job of Slurm; what would put the job back into the queue is noted."""
    requeued: list[int] = []

    def requeue(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "a SIGTERM would kill `scontrol requeue`"
        requeued.append(number)
        raise SystemExit(-1)

    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, requeue)
    yield requeued
    for number, handler in before.items():
        signal.signal(number, handler)


def job(folder: Path, monkeypatch: pytest.MonkeyPatch, does: object) -> SlurmJob:
    """A job whose command does this."""
    for number, name in ((1, "stdout"), (2, "stderr")):  # not pytest's own, which are no files of the process
        monkeypatch.setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115
    monkeypatch.setattr("bench.jobs.start.start", lambda *_: does())  # type: ignore[operator]
    return SlurmJob(JobSpec("a run", "train", folder))


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("does", "end", "reason"),
    [(interrupt, "stopped", "SIGINT"), (lambda: sys.exit(3), "failed", "exit code 3"), (lambda: None, "done", "")],
)
def test_a_job_that_is_interrupted_or_exits_is_not_done(
    does: Callable[[], None],
    end: str,
    reason: str,
    tmp_path: Path,
    in_job: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slurm_job, "_is_kept", lambda _: False)
    with pytest.raises(SystemExit) if end != "done" else contextlib.nullcontext():
        job(tmp_path, monkeypatch, does)()
    (attempt,) = attempts(tmp_path)
    assert (attempt.end, attempt.reason) == (end, reason) and not in_job


def test_a_warning_after_the_end_is_not_heard(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job(tmp_path, monkeypatch, lambda: None)()
    kill(signal.SIGUSR2)
    kill(signal.SIGTERM)
    assert attempts(tmp_path)[0].end == "done" and not in_job


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_before_its_time_limit_a_job_puts_itself_back(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        job(tmp_path, monkeypatch, lambda: kill(signal.SIGUSR2))()
    assert in_job == [signal.SIGUSR2]
    (attempt,) = attempts(tmp_path)
    assert (attempt.end, attempt.reason, attempt.node) == ("requeued", "SIGUSR2", "n1")


def test_at_the_last_call_a_job_ends_and_does_not_put_itself_back(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_job, "_is_kept", lambda _: False)
    with pytest.raises(SystemExit) as caught:
        job(tmp_path, monkeypatch, lambda: kill(signal.SIGTERM))()
    assert caught.value.code == 143 and not in_job
    (attempt,) = attempts(tmp_path)
    assert (attempt.end, attempt.reason) == ("stopped", "SIGTERM")
    assert "goes on from here" in (tmp_path / LOG).read_text()


def test_an_error_is_in_the_log_with_its_traceback(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(SystemExit) as caught:
        job(tmp_path, monkeypatch, mistake)()
    assert caught.value.code == 1 and not in_job
    assert attempts(tmp_path)[0].reason == "RuntimeError: a mistake"
    assert "Traceback" in (tmp_path / LOG).read_text()


@pytest.mark.parametrize(("state", "put_back"), [("RUNNING", True), ("CANCELLED", False), ("PENDING", False)])
def test_at_the_last_call_a_job_that_the_queue_counts_as_running_puts_itself_back(
    state: str, put_back: bool, tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho JobId=12 JobName=x JobState={state} Reason=None")
    (tmp_path / "scontrol").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SystemExit):
        job(tmp_path / "run", monkeypatch, lambda: kill(signal.SIGTERM))()
    assert bool(in_job) == put_back
    assert attempts(tmp_path / "run")[0].end == ("requeued" if put_back else "stopped")


def test_a_queue_that_is_away_is_asked_again(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back, tries = signal.getsignal(signal.SIGUSR2), []
    assert callable(put_back)

    def away(number: int, frame: FrameType | None) -> None:
        tries.append(number)
        if len(tries) < 3:
            raise subprocess.CalledProcessError(1, ["scontrol", "requeue", "12"])
        put_back(number, frame)

    monkeypatch.setattr(slurm_job, "PAUSE", 0.01)
    signal.signal(signal.SIGUSR2, away)
    with pytest.raises(SystemExit):
        job(tmp_path, monkeypatch, lambda: kill(signal.SIGUSR2))()
    assert len(tries) == 3 and in_job == [signal.SIGUSR2]
    assert attempts(tmp_path)[0].end == "requeued"


def test_a_queue_that_stays_away_is_told_of(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise subprocess.CalledProcessError(1, ["scontrol", "requeue", "12"])

    monkeypatch.setattr(slurm_job, "PATIENCE", 0.0)
    monkeypatch.setattr(slurm_job, "PAUSE", 0.0)
    signal.signal(signal.SIGUSR2, away)
    with pytest.raises(SystemExit):
        job(tmp_path, monkeypatch, lambda: kill(signal.SIGUSR2))()
    assert not in_job
    assert attempts(tmp_path)[0].end == "stopped"


def test_a_job_that_cannot_be_put_back_says_why(
    tmp_path: Path, in_job: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("timed-out too many times")

    signal.signal(signal.SIGUSR2, refused)
    with pytest.raises(SystemExit) as caught:
        job(tmp_path, monkeypatch, lambda: kill(signal.SIGUSR2))()
    assert caught.value.code == 140 and not in_job
    assert "could not be put back into the queue: timed-out too many times" in attempts(tmp_path)[0].reason
