"""A run that is killed at any point and started again ends with the same bits."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from bench.core.errors import UserError
from bench.runs.plan import Run
from bench.runs.record import Record
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.training.checkpoint import checkpoints, start_from
from bench.training.distiller import TrainingContext
from bench.training.log import read_lines
from methods.dmd import DMD
from methods.recipes import DMDRecipe

VARIES = {"cost", "provenance", "sampler"}
"""What an interruption may change in a record: seconds and the date, never a value."""


def values(record: Record) -> dict[str, object]:
    """Return a record without its times."""
    return {key: value for key, value in record.model_dump().items() if key not in VARIES}


def kill_when(condition: Callable[[], bool], work: Callable[[], object]) -> None:
    """Do `work` in a child process and kill it with signal 9 as soon as `condition` is true."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    deadline = time.monotonic() + 60
    while not condition() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.is_alive(), "the run ended before it could be killed"
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()


def logged(run: Run) -> int:
    """Return the iterations in a run's metrics file."""
    lines = read_lines(run.folder / "metrics.jsonl")
    return int(lines[-1]["iteration"]) if lines else 0


def test_five_kills_in_training_and_one_in_evaluation(
    plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    recipe = {"iterations": 120, "ema_decay": 0.9}
    whole = plan(root=tmp_path / "whole", **recipe)
    broken = plan(root=tmp_path / "broken", **recipe)
    expected = runner.run(whole)

    points = sorted(random.Random(0).sample(range(10, 110, 10), 5))
    for point in points:
        kill_when(lambda point=point: logged(broken) >= point, lambda: runner.run(broken))
    kill_when((broken.folder / "evaluation" / "repetition-0.json").exists, lambda: runner.run(broken))

    resumed = runner.run(broken)
    assert values(resumed) == values(expected)
    assert resumed.cost.passes == expected.cost.passes and expected.cost.passes["student"].backward > 0
    # The metrics file, too: no line twice, none missing.
    assert read_lines(broken.folder / "metrics.jsonl") == read_lines(whole.folder / "metrics.jsonl")


@pytest.mark.parametrize("method", ["dmd", "gan", "regression", "dmd2-4step"])
def test_every_kind_of_method_resumes_exactly(
    method: str, plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    whole, broken = (plan(method, root=tmp_path / name) for name in ("whole", "broken"))
    expected = runner.run(whole)
    kill_when(lambda: len(checkpoints(broken.folder / "checkpoints")) > 1, lambda: runner.run(broken))
    assert values(runner.run(broken)) == values(expected)


def test_a_finished_run_is_returned_not_repeated(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan()
    first = runner.run(run)
    before = run.record.stat().st_mtime_ns
    assert runner.run(run) == first
    assert run.record.stat().st_mtime_ns == before


def test_a_damaged_checkpoint_is_named_with_the_fix(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan()
    expected = values(runner.run(run))
    run.record.unlink()
    (run.folder / "training.json").unlink()
    newest = checkpoints(run.folder / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{newest}.*delete it.*rm"):
        runner.run(run)
    newest.unlink()  # as the message says: training goes on from the checkpoint before
    assert values(runner.run(run)) == expected


def test_a_checkpoint_that_would_execute_code_is_refused(plan: Callable[..., Run], runner: Runner) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(run.folder / "executed"),)

    run = plan()
    target = run.folder / "checkpoints" / "0000012.pt"
    target.parent.mkdir(parents=True)
    torch.save({"models": Attack()}, target)
    with pytest.raises(UserError, match="damaged"):
        runner.run(run)
    assert not (run.folder / "executed").exists()


def test_a_half_written_record_is_named(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan()
    runner.run(run)
    run.record.write_text(run.record.read_text()[:100])
    with pytest.raises(UserError, match=r"record.json: not a complete and valid record .*; fix: .*mv "):
        runner.run(run)


def test_another_teacher_is_not_mixed_into_a_run(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan()
    runner.run(run)
    run.record.unlink()
    (run.folder / "training.json").unlink()
    newest = checkpoints(run.folder / "checkpoints")[-1]
    content = torch.load(newest, weights_only=True)
    torch.save(content | {"teacher_sha256": "0" * 64}, newest)
    with pytest.raises(UserError, match="another teacher"):
        runner.run(run)


def test_two_processes_never_work_on_one_run(plan: Callable[..., Run], runner: Runner) -> None:
    from bench.runs.states.lock import locked

    run = plan()
    with locked(run.folder), pytest.raises(UserError, match="another command works on"):
        runner.run(run)


def test_divergence_is_a_record_that_says_what_diverged(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan("dmd-no-regression", lr=1e30, clip_norm=1e30, iterations=50)
    record = runner.run(run)
    assert record.status == "failed" and record.error is not None
    assert record.error.type == "DivergedError"
    assert "diverged at iteration" in record.error.message
    assert json.loads(run.record.read_text())["error"]["traceback"]
    assert runner.run(run) == record  # it would diverge again: returned, not repeated


def test_a_second_stage_starts_from_a_finished_run(plan: Callable[..., Run], runner: Runner) -> None:
    """The paper's longer training is first without GAN, then with it, from the last checkpoint."""
    first = plan("dmd-ttur", ema_decay=None)
    expected = runner.run(first)
    second = plan("dmd2", ema_decay=None, init_from=first.folder, lr=1e-12, critic_lr=1e-12, iterations=1)
    record = runner.run(second)
    assert record.data[-1].role == "initial weights"
    assert record.metrics[0].values == pytest.approx(expected.metrics[0].values, rel=1e-4)
    assert second.id != plan("dmd2", ema_decay=None, lr=1e-12, critic_lr=1e-12, iterations=1).id


def test_a_second_stage_requires_a_finished_run_of_the_same_networks(
    plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"init_from: .*not the folder of a finished run"):
        runner.run(plan(init_from=tmp_path))
    first = plan("regression")
    runner.run(first)
    newest = checkpoints(first.folder / "checkpoints")[-1]
    content = torch.load(newest, weights_only=True)
    torch.save(content | {"models": {"student": content["models"]["generator"]}}, newest)
    with pytest.raises(UserError, match=r"init_from: .*its networks do not fit.*KeyError: 'generator'"):
        runner.run(plan("dmd2", init_from=first.folder))


def test_after_a_regression_the_critic_starts_as_the_teacher(
    plan: Callable[..., Run], tiny: PreparedTask, runner: Runner
) -> None:
    """SDXL's one-step student is pretrained on pairs; the critic is not."""
    first = plan("regression", ema_decay=None)
    runner.run(first)
    context = TrainingContext(
        Accelerator(cpu=True), copy.deepcopy(tiny.teacher), None, lambda _: pytest.fail("no pairs")
    )
    method = DMD(DMDRecipe(), context)
    start_from(first.folder, method)
    student, _ = tiny.load_student(first.folder / "student")
    critic = method.models["critic"].network.denoiser
    for expected, found in ((student, method.generator.network), (tiny.teacher, critic)):
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
