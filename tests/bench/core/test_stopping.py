"""A scheduler's signal: training ends with a checkpoint, and goes on from it with the same bits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.core.stopping import Stopped, StopSignal, listening, noting_interrupts
from bench.runs.plan import Run
from bench.runs.runner import Runner
from bench.training import iteration_limit
from bench.training.checkpoint import checkpoints
from bench.training.iteration_limit import IterationLimit
from bench.training.trainer import Trainer


def test_a_signal_outside_training_stops_at_once() -> None:
    with pytest.raises(Stopped, match="SIGUSR2"), listening():
        os.kill(os.getpid(), signal.SIGUSR2)


@pytest.mark.parametrize("order", [(signal.SIGUSR2, signal.SIGTERM), (signal.SIGTERM, signal.SIGUSR2)])
def test_the_warning_counts_whichever_comes_first(order: tuple[signal.Signals, signal.Signals]) -> None:
    stop = StopSignal()
    with stop.deferred():
        for number in order:
            stop.hear(number)
    assert stop.heard is signal.SIGUSR2


def test_work_that_hangs_is_ended_after_its_limit_and_no_other() -> None:
    with listening() as stop, stop.deferred():
        with stop.within(0.01):
            time.sleep(0.05)  # no signal has come
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)  # outside, as while a checkpoint is written
        with stop.within(0.5):
            pass
        began = time.monotonic()
        with pytest.raises(Stopped, match="SIGTERM"), stop.within(0.2):
            os.kill(os.getpid(), signal.SIGTERM)  # another one does not begin the time anew
            while True:
                time.sleep(0.01)
        assert time.monotonic() - began < 5
        time.sleep(0.5)  # and nothing comes later


def test_an_iteration_hangs_that_takes_far_longer_than_any_before(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    class Recording(StopSignal):
        def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
            limits.append(seconds)
            return super().within(seconds)

    clock = iter([0, 100, 103, 103, 104, 104, 104])  # the first one compiles
    monkeypatch.setattr(iteration_limit.time, "perf_counter", lambda: float(next(clock)))
    limit = IterationLimit(Recording())
    for _ in range(4):
        with limit.iteration():
            pass
    assert limits == [5, 5, 15, 15]


def test_work_that_went_on_to_its_end_can_obey_afterwards() -> None:
    stop = StopSignal()
    stop.obey()  # no signal has come
    with stop.deferred():
        stop.hear(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"):
        stop.obey()


def test_interrupts_are_noted_where_they_must_not_interrupt_and_ignored_ones_stay_so() -> None:
    outside = {
        signal.SIGINT: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # ignored in a script's background
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    }
    try:
        with noting_interrupts() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
            assert noted == []
            began = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            assert len(noted) == 2 and all(began <= at <= time.monotonic() for at in noted)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with ThreadPoolExecutor() as threads:
            assert threads.submit(_noted_nothing).result()
    finally:
        for number, handler in outside.items():
            signal.signal(number, handler)


def _noted_nothing() -> bool:
    with noting_interrupts() as noted:
        return noted == []


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("cause", [signal.SIGUSR2, signal.SIGTERM])
def test_training_stops_after_its_iteration_and_goes_on_with_the_same_bits(
    cause: signal.Signals,
    plan: Callable[..., Run],
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {"iterations": 60, "ema_decay": 0.9}
    whole, broken = (plan(root=tmp_path / name, **recipe) for name in ("whole", "broken"))
    expected = runner.run(whole)

    runner.stop = StopSignal()
    plain = Trainer.step

    def interrupted(self: Trainer, iteration: int) -> dict[str, object]:
        if iteration == 16 and runner.stop is not None:
            runner.stop.hear(cause)
        return plain(self, iteration)

    with monkeypatch.context() as patched, pytest.raises(Stopped) as caught:
        patched.setattr(Trainer, "step", interrupted)
        runner.run(broken)
    assert caught.value.cause is cause
    assert [path.stem for path in checkpoints(broken.folder / "checkpoints")][-1] == "0000017"
    assert not broken.record.exists()  # no failure: the run goes on

    runner.stop = None
    again = runner.run(broken)
    assert [metric.values for metric in again.metrics] == [metric.values for metric in expected.metrics]
    assert again.checkpoint == expected.checkpoint


def test_a_student_trained_in_one_job_is_evaluated_in_another(
    plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    whole, parted = (plan(root=tmp_path / name) for name in ("whole", "parted"))
    expected = runner.run(whole)
    assert runner.train(parted) is None
    assert not parted.record.exists()
    for checkpoint in checkpoints(parted.folder / "checkpoints"):
        checkpoint.unlink()  # the evaluation needs the student alone
    record = runner.run(parted)
    assert [metric.values for metric in record.metrics] == [metric.values for metric in expected.metrics]
    assert record.cost.train_seconds > 0


def test_a_training_that_fails_leaves_its_record(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan("dmd-no-regression", lr=1e30, clip_norm=1e30, iterations=50)
    record = runner.train(run)
    assert record is not None and record.error is not None and record.error.type == "DivergedError"
    assert run.finished() == record
