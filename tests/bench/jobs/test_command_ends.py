"""However a command on this machine ends, its jobs end with it, after a checkpoint, and nothing is called done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests_support import TINY_PLUGIN

from bench.core.errors import UserError
from bench.core.launcher import clear
from bench.jobs import local
from bench.jobs.local_jobs import SAME_SECONDS
from bench.jobs.request import raise_failures
from bench.runs.plan import Run
from bench.runs.states.attempts import attempts
from bench.runs.states.lock import locked
from bench.runs.states.state import run_state

GATED = TINY_PLUGIN.with_name("gated.py")
TINY = ("--task", "tiny", "--no-baselines")
SET = [part for value in ("iterations=24", "batch_size=4", "warmup=2") for part in ("--set", value)]


@pytest.fixture
def started(cache: Path, tmp_path: Path, tiny: object) -> Iterator[Callable[[], psutil.Popen]]:  # noqa: ARG001
    """Start `bench run` as a script's background job does, with SIGINT ignored; it waits in its iteration 9."""
    commands: list[psutil.Popen] = []
    (tmp_path / "gate").mkdir()

    def start(method: str = "gated", *options: str, **environment: str) -> psutil.Popen:
        plugins = ("--plugin", str(TINY_PLUGIN), "--plugin", str(GATED))
        places = ("--runs", str(tmp_path / "runs"), "--cache", str(cache))
        command = psutil.Popen(
            [
                sys.executable,
                "-m",
                "bench",
                "run",
                *("--method", method),
                *TINY,
                *(options or SET),
                *plugins,
                *places,
            ],
            env={**os.environ, "BENCH_TEST_GATE": str(tmp_path / "gate"), **environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        commands.append(command)
        return command

    yield start
    for command in commands:
        for process in [*command.children(recursive=True), command] if command.is_running() else []:
            process.kill()


def until(true: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.parametrize("how", ["SIGUSR2", "SIGTERM", "SIGKILL", "controller"])
def test_the_jobs_of_a_command_that_is_stopped_or_killed_stop_after_a_checkpoint(
    how: str, started: Callable[[], psutil.Popen], tmp_path: Path
) -> None:
    command = started()
    until((tmp_path / "gate" / "0-9-0").exists)
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    assert run_state(run).state == "running"
    worker = psutil.Process(int((tmp_path / "gate" / "0-9-0").read_text()))
    if how == "controller":
        worker.parent().kill()
    else:
        command.send_signal(signal.Signals[how])
    printed, _ = command.communicate(timeout=120)
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    (attempt,) = attempts(run)
    assert (attempt.end, attempt.reason) == ("stopped", "SIGTERM")
    assert run_state(run).state == "stopped"
    assert (run / "checkpoints" / "0000010.pt").exists() and not (run / "record.json").exists()
    assert command.returncode == {"SIGUSR2": 140, "SIGTERM": 143, "SIGKILL": -9, "controller": 2}[how], printed
    assert ("interrupted; the same command goes on" in printed) == (how in ("SIGUSR2", "SIGTERM"))
    assert "Traceback" not in printed


def test_an_iteration_that_hangs_is_ended_in_the_middle_and_named(
    started: Callable[..., psutil.Popen], tmp_path: Path
) -> None:
    command = started("hanging")
    until((tmp_path / "gate" / "0-9-0").exists)
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    told = time.monotonic()
    command.send_signal(signal.SIGTERM)
    printed, _ = command.communicate(timeout=120)
    assert time.monotonic() - told < 30 and command.returncode == 143
    assert re.search(r"hanging on tiny, seed 0: stopped: SIGTERM, in line \d+ of plug-in gated\.py", printed)
    state = run_state(run)
    assert state.state == "stopped" and state.reason.endswith("of plug-in gated.py") and state.resumable


@pytest.mark.parametrize("hangs", ["0", "1"])
def test_a_process_that_hangs_takes_the_others_with_it_and_the_run_is_stopped(
    hangs: str, started: Callable[..., psutil.Popen], tmp_path: Path
) -> None:
    command = started("hanging", *SET, "--processes", "2", BENCH_TEST_HANGS=hangs)
    until((tmp_path / "gate" / "0-9-0").exists)
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    command.send_signal(signal.SIGTERM)
    printed, _ = command.communicate(timeout=120)
    assert command.returncode == 143 and "hanging on tiny, seed 0: stopped: SIGTERM" in printed, printed
    assert "Traceback" not in printed
    assert run_state(run).state == "stopped" and not (run / "record.json").exists()
    log = run / ("log.txt" if hangs == "0" else "log-1.txt")
    assert re.search(r"stopped by SIGTERM, in line \d+ of plug-in gated\.py", log.read_text())


def test_a_signal_in_the_last_iteration_stops_the_run_before_its_evaluation(
    started: Callable[..., psutil.Popen], tmp_path: Path
) -> None:
    command = started("gated", "--set", "iterations=10", "--set", "batch_size=4", "--set", "warmup=2")
    until((tmp_path / "gate" / "0-9-0").exists)
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    command.send_signal(signal.SIGTERM)
    printed, _ = command.communicate(timeout=120)
    assert command.returncode == 143 and "gated on tiny, seed 0: stopped: SIGTERM" in printed, printed
    assert (run / "student").is_dir() and not (run / "record.json").exists()


def test_the_end_of_jobs_is_waited_for_where_nobody_reads_what_is_said(
    started: Callable[[], psutil.Popen], tmp_path: Path
) -> None:
    command = started()
    until((tmp_path / "gate" / "0-9-0").exists)
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    command.stdout.close()  # as `| tee log` does, which Ctrl-C ends too
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=120) == 143
    assert run_state(run).state == "stopped"


def test_a_second_signal_kills_what_the_first_one_does_not_end(
    started: Callable[..., psutil.Popen], tmp_path: Path
) -> None:
    command = started("hanging", BENCH_TEST_CATCHES="1")
    until((tmp_path / "gate" / "0-9-0").exists)
    worker = psutil.Process(int((tmp_path / "gate" / "0-9-0").read_text()))
    command.send_signal(signal.SIGTERM)
    time.sleep(SAME_SECONDS + 1)
    assert worker.is_running() and command.poll() is None
    while command.poll() is None:
        command.send_signal(signal.SIGTERM)  # as a key that is held down
        time.sleep(0.02)
    printed, _ = command.communicate(timeout=60)
    assert command.returncode in (143, -signal.SIGTERM) and "Traceback" not in printed, printed
    assert "interrupted; the same command goes on" in printed
    assert "Ctrl-C again kills the jobs" in printed and "hanging on tiny, seed 0: killed" in printed
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, seconds=10)


def test_a_job_that_hangs_does_not_outlive_its_command_for_ever() -> None:
    script = (
        "import os, signal, time\n"
        "from bench.jobs import forkserver\n"
        "forkserver.REPEAT_SECONDS = 0.1\n"
        "reading, writing = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    forkserver.follow_parent()\n"
        "    os.write(writing, b'x')\n"
        "    time.sleep(600)\n"
        "os.read(reading, 1)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, stdout=subprocess.PIPE)


def test_a_run_that_another_command_works_on_is_refused(
    plan: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ENDING_SECONDS", 0.0)
    run = plan()
    run.begin()
    local.refuse_under_way([run], tmp_path)
    with (
        locked(run.folder),
        pytest.raises(UserError, match=rf"another command works on tiny/{run.id}; fix: .*bench wait"),
    ):
        local.refuse_under_way([run], tmp_path)
    with (
        locked(run.folder),
        pytest.raises(UserError, match=rf"^another command works on tiny/{run.id}; fix: .*bench wait"),
    ):
        raise_failures([run])  # it came too late for the first look
    with pytest.raises(UserError, match=r"1 of 1 runs failed: .* see log\.txt"):
        raise_failures([run])


def test_what_other_launchers_set_is_cleared_and_what_users_set_is_kept() -> None:
    theirs = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "ACCELERATE_USE_DEEPSPEED": "true"}
    theirs |= {
        "TORCHELASTIC_RUN_ID": "1",
        "OMPI_COMM_WORLD_RANK": "0",
        "PMI_RANK": "1",
        "FSDP_OFFLOAD_PARAMS": "1",
    }
    ours = {"PATH": "/bin", "NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "2"}
    environment = {**theirs, **ours}
    assert clear(environment) == sorted(theirs)
    assert environment == ours
