"""Trackers are sent the lines of the log, to the digit and once, and a run is the same with and without them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from accelerate import PartialState
from processes import in_processes
from torch import Tensor
from tracked_runs import READERS, Sent

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.stopping import Stopped, StopSignal
from bench.runs.plan import Run
from bench.runs.record import Record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.training import trackers, tracking
from bench.training.tracker import PROJECT, Line, TrackedRun, Tracker, complete_until
from bench.training.trackers import TRACKERS, is_installed, require_trackers
from bench.training.tracking import Tracking
from bench.training.trainer import Trainer

each_tracker = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"{name} is not installed"))
        for name in TRACKERS
    ],
)


@pytest.fixture
def tracked(catalogue: Catalogue, tiny: PreparedTask) -> Callable[..., Runner]:
    """Make what executes runs on the tiny task with trackers."""

    def make(*names: str, stop: StopSignal | None = None) -> Runner:
        return Runner(catalogue, tiny, SilentProgress(), stop, track=names)

    return make


def logged(run: Run) -> Sent:
    """Return the figures of a run's log."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [(name, line["iteration"], line[name]) for line in lines for name in line if name != "iteration"]


def results(record: Record, step: int) -> Sent:
    """Return the results of a record as trackers are sent them."""
    return [(f"result/{one.name}", step, one.value) for one in record.metrics if one.value is not None]


def check(name: str, run: Run, record: Record) -> None:
    """Check that a tracker has the lines of the log and the record's results, each once, and the rest of a run."""
    sent, configuration, picture = READERS[name](run.root / "trackers", "tiny", run.id)
    assert sorted(sent) == sorted([*logged(run), *results(record, run.recipe.iterations)])
    assert picture
    wanted = {
        "run_id": run.id,
        "method": "dmd2",
        "task": "tiny",
        "seed": "0",
        "protocol_sha256": record.protocol_sha256,
        "recipe/batch_size": "4",
        "recipe/init_from": "none",
    }
    assert {key: configuration[key] for key in wanted} == wanted


@each_tracker
@pytest.mark.own_process
def test_a_resumed_run_goes_on_in_the_tracker_and_sends_nothing_twice(
    name: str, plan: Callable[..., Run], tracked: Callable[..., Runner]
) -> None:
    run = plan()
    with pytest.raises(Stopped):
        tracked(name, stop=StopAt(12)).run(run)
    for path in (run.folder / "checkpoints").glob("*.pt"):
        if int(path.stem) > 8:  # as a kill would leave it: what the tracker has is ahead of the checkpoint
            path.unlink()
    check(name, run, tracked(name).run(run))


@each_tracker
@pytest.mark.own_process
def test_a_tracker_that_comes_later_has_the_whole_log(
    name: str, plan: Callable[..., Run], tracked: Callable[..., Runner]
) -> None:
    run = plan()
    assert tracked().train(run) is None  # as the training job of a cluster, which another job evaluates
    assert not (run.root / "trackers").exists()
    check(name, run, tracked(name).run(run))


@pytest.mark.own_process
def test_trackers_change_nothing_of_a_run(
    plan: Callable[..., Run], tracked: Callable[..., Runner], tmp_path: Path
) -> None:
    installed = [name for name in TRACKERS if is_installed(name)]
    alone, followed = plan(root=tmp_path / "alone"), plan(root=tmp_path / "followed")
    assert followed.id == alone.id and len(installed) > 0
    records = tracked().run(alone), tracked(*installed).run(followed)
    expected, found = (one.model_dump(exclude={"cost", "provenance"}) for one in records)
    assert found == expected  # also the weights' SHA-256
    assert logged(followed) == logged(alone) and len(logged(alone)) > 30
    for name in installed:
        check(name, followed, records[1])


class StopAt(StopSignal):
    """A signal that is heard in one iteration of training."""

    def __init__(self, iteration: int) -> None:
        super().__init__()
        self.left = iteration

    @property
    def heard(self) -> signal.Signals | None:
        """The signal, from the iteration on: the trainer asks once in each."""
        if self._deferred:
            self.left -= 1
        return signal.SIGUSR2 if self.left <= 0 else None

    @heard.setter
    def heard(self, value: signal.Signals | None) -> None:
        assert value is None


class Memory(Tracker):
    """A tracker that keeps what it is sent in a list, and can be told to fail."""

    name = "tensorboard"
    look = ""
    sent: ClassVar[list[tuple[str, int]]] = []
    fails: ClassVar[Callable[[str], object]] = staticmethod(str)
    """What each call does first."""

    def open(self, lines: Sequence[Line]) -> None:  # noqa: ARG002
        self.fails("open")
        self.tracker = self
        self.sent.clear()

    def _send(self, figures: Mapping[str, float], step: int) -> None:
        self.fails("log")
        self.sent += [(name, step) for name in figures]

    def _send_picture(self, picture: Path, step: int) -> None:
        self.fails("picture")
        self.sent.append((picture.name, step))

    def close(self) -> None:
        self.fails("close")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    """A tracker in memory that stands where TensorBoard does."""
    monkeypatch.setitem(TRACKERS, "tensorboard", Memory)
    return Memory


@pytest.mark.parametrize("call", ["open", "log", "close"])
@pytest.mark.own_process
def test_a_tracker_that_fails_is_named_once_and_the_run_goes_on(
    call: str,
    memory: type[Memory],
    plan: Callable[..., Run],
    tracked: Callable[..., Runner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(now: str) -> None:
        if now == call:
            raise RuntimeError("no \x1b[31mroom\nsecond line")

    monkeypatch.setattr(memory, "fails", staticmethod(fails))
    run, heard = plan(iterations=8), io.StringIO()
    with contextlib.redirect_stderr(heard):
        assert tracked("tensorboard").run(run).error is None
    assert len(logged(run)) > 8
    (warning,) = [line for line in heard.getvalue().splitlines() if "tracker" in line]
    assert warning == (
        "warning: tracker tensorboard failed: RuntimeError: no \\x1b[31mroom; the run goes on without it"
    )


@pytest.mark.parametrize("call", ["open", "log"])
@pytest.mark.own_process
def test_a_tracker_that_hangs_holds_nothing_up(
    call: str,
    memory: type[Memory],
    plan: Callable[..., Run],
    tracked: Callable[..., Runner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "fails", staticmethod(lambda now: time.sleep(60) if now == call else None))
    monkeypatch.setattr(tracking, "OPEN_SECONDS", 0.2)
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.2)
    heard, begun = io.StringIO(), time.monotonic()
    with contextlib.redirect_stderr(heard):
        assert tracked("tensorboard").run(plan(iterations=8)).error is None
    assert time.monotonic() - begun < 40
    assert (
        "warning: tracker tensorboard has not written all within 0 seconds and is left behind" in heard.getvalue()
    )


@pytest.mark.own_process
def test_a_run_that_is_told_to_stop_does_not_wait_long_for_a_tracker_that_hangs(
    memory: type[Memory],
    plan: Callable[..., Run],
    tracked: Callable[..., Runner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "fails", staticmethod(lambda now: time.sleep(60) if now == "log" else None))
    monkeypatch.setattr(tracking, "STOPPED_SECONDS", 0.2)
    stop, begun = StopSignal(), time.monotonic()
    stop.heard = signal.SIGTERM
    with pytest.raises(Stopped):
        tracked("tensorboard", stop=stop).run(plan(iterations=40))
    assert time.monotonic() - begun < 40


@pytest.mark.own_process
def test_a_failed_run_is_sent_as_far_as_it_came(
    memory: type[Memory],
    plan: Callable[..., Run],
    tracked: Callable[..., Runner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Trainer.step

    def diverges(self: Trainer, iteration: int) -> dict[str, Tensor]:
        figures = step(self, iteration)
        return {name: value * math.inf for name, value in figures.items()} if iteration == 14 else figures

    monkeypatch.setattr(Trainer, "step", diverges)
    run = plan()
    record = tracked("tensorboard").run(run)
    assert record.error is not None and record.error.type == "DivergedError"
    assert memory.sent == [(name, step) for name, step, _ in logged(run)]
    assert memory.sent[-1][1] == 14


def test_only_the_first_process_has_trackers(
    memory: type[Memory], plan: Callable[..., Run], tiny: PreparedTask, catalogue: Catalogue
) -> None:
    run = plan(iterations=4)

    def work() -> None:
        memory.sent.clear()
        Runner(catalogue, tiny, SilentProgress(), track=["tensorboard"]).run(run)
        found = [(name, step) for name, step, _ in logged(run)]
        if PartialState().is_main_process:
            assert memory.sent[: len(found)] == found
        else:
            assert memory.sent == []

    in_processes(2, work)


@pytest.mark.skipif(not is_installed("mlflow"), reason="mlflow is not installed")
@pytest.mark.own_process
def test_runs_that_begin_side_by_side_share_one_project_of_mlflow(tmp_path: Path) -> None:
    PartialState(cpu=True)
    every = [Tracking(["mlflow"], TrackedRun("tiny", f"run-{number}", {}), tmp_path) for number in range(4)]
    with ThreadPoolExecutor(len(every)) as pool:
        list(pool.map(lambda one: one.open([{"iteration": 10, "lr": 0.1}]), every))
    for one in every:
        one.close()
    import mlflow

    client = mlflow.MlflowClient()
    (project,) = [one for one in client.search_experiments() if one.name == f"{PROJECT}-tiny"]
    runs = client.search_runs([project.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"run-{number}" for number in range(4)]
    assert all(run.data.metrics == {"lr": 0.1} for run in runs)


def test_what_is_not_installed_or_unknown_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda name: name != "wandb")
    require_trackers(["tensorboard", "mlflow"])
    with pytest.raises(
        UserError, match=r"--track wandb needs .*; fix: pip install \"distillation-bench\[wandb\]\""
    ):
        require_trackers(["tensorboard", "wandb"])
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        require_trackers(["tensorbord"])


def test_a_log_is_complete_up_to_the_first_figure_that_is_missing() -> None:
    lines: list[Line] = [
        *({"iteration": 10, "lr": 0.1}, {"iteration": 10, "fd": 3.0}),
        *({"iteration": 20, "lr": 0.1}, {"iteration": 20, "fd": None}),
    ]
    points = {("lr", 10), ("fd", 10), ("lr", 20)}
    assert complete_until(lines, points) == 20
    assert complete_until(lines, points - {("lr", 20)}) == 10
    assert complete_until(lines, points - {("fd", 10)}) == 9
    assert complete_until(lines, set()) == complete_until([], points) == 0


@pytest.mark.skipif(not is_installed("wandb"), reason="wandb is not installed")
@pytest.mark.own_process
def test_an_online_run_of_wandb_is_sent_only_what_comes_after_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wandb

    asked: dict[str, object] = {}

    def init(**options: object) -> SimpleNamespace:
        asked.update(options)
        return SimpleNamespace(
            resumed=True, starting_step=21, log=lambda values, step: sent.append((step, values))
        )

    sent: list[tuple[int, object]] = []
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", init)
    PartialState(cpu=True)  # accelerate's trackers ask it which process this is
    tracker = TRACKERS["wandb"](TrackedRun("tiny", "dmd2-s0-abc", {"seed": 0}), tmp_path)
    tracker.open([])
    for step in (10, 20, 30):
        tracker.log({"iteration": step, "lr": 0.1})
    assert sent == [(30, {"lr": 0.1})]
    assert (asked["id"], asked["resume"], asked["project"]) == ("dmd2-s0-abc", "allow", "distillation-bench-tiny")
