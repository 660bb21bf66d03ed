"""What a distiller may not do without an error: log what is no figure, never train, lose its average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cli.parsing import parse_overrides
from bench.core.errors import UserError
from bench.core.stopping import Stopped, StopSignal
from bench.runs.plan import Run
from bench.runs.runner import Runner
from bench.training.checkpoint import checkpoints
from bench.training.distiller import Batch
from bench.training.figures import check_figures
from bench.training.recipe import Recipe, build_recipe
from bench.training.trainer import Trainer
from methods.dmd import DMD

ONE = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, r"returned \{\}; fix: return at least one figure"),
        (None, "returned NoneType; fix"),
        ([ONE], "returned list; fix"),
        ({"iteration": ONE}, "a figure named 'iteration'"),
        ({"lr": ONE}, "a figure named 'lr'"),
        ({"fd": ONE}, "a figure named 'fd'"),
        ({"gradient/generator": ONE}, "a figure named 'gradient/generator'"),
        ({1: ONE}, "a figure named 1"),
        ({"": ONE}, "a figure named ''"),
        ({"loss/a": torch.ones(3)}, r"returned \[3\] torch.float32 for 'loss/a'"),
        ({"loss/a": "low"}, "returned str for 'loss/a'"),
        ({"loss/a": 0.5}, "returned float for 'loss/a'"),
        ({"loss/a": torch.tensor(1j)}, "for 'loss/a'; fix: return a real tensor"),
    ],
)
def test_what_is_no_figure_is_refused(figures: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_figures(figures, figures)


def test_micro_batches_have_the_same_figures() -> None:
    check_figures({"loss/a": ONE, "count": torch.tensor(3)}, {"count": ONE, "loss/a": ONE})
    with pytest.raises(ValueError, match="'loss/b' for some micro-batches"):
        check_figures({"loss/a": ONE}, {"loss/a": ONE, "loss/b": ONE})


def test_a_student_that_was_never_trained_is_a_failure_and_no_result(
    plan: Callable[..., Run], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(*_: object) -> dict[str, Tensor]:
        return {"loss/nothing": ONE}

    monkeypatch.setattr(DMD, "training_step", idle)
    record = runner.run(plan(iterations=3))
    assert record.error is not None and record.error.type == "UntrainedError"
    assert "never updated in 3 iterations" in record.error.message and not record.metrics


def test_a_checkpoint_whose_average_was_removed_is_refused(
    plan: Callable[..., Run], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(iterations=20, ema_decay=0.9)
    step = Trainer.step
    runner.stop = StopSignal()

    def interrupted(self: Trainer, iteration: int) -> dict[str, Tensor]:
        if iteration == 9 and runner.stop is not None:
            runner.stop.hear(15)
        return step(self, iteration)

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Trainer, "step", interrupted)
        runner.run(run)
    path = checkpoints(run.folder / "checkpoints")[-1]
    whole = torch.load(path, weights_only=True)
    runner.stop = None
    name = next(iter(whole["average"]))
    for average, said in (
        (None, "the EMA of its recipe is missing"),
        ({key: value for key, value in whole["average"].items() if key != name}, f"EMA of 1 weights .* {name}"),
    ):
        torch.save({**whole, "average": average}, path)
        with pytest.raises(UserError, match=rf"is damaged \(ValueError: .*{said}.*rm "):
            runner.run(run)
    assert not run.record.exists()


def _without(content: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a checkpoint's content without what a path of keys names."""
    first, *rest = path
    if not rest:
        return {key: value for key, value in content.items() if key != first}
    return {**content, first: _without(content[first], *rest)}


def test_a_checkpoint_that_would_give_another_result_is_refused(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan(iterations=4)
    runner.run(run)
    run.record.unlink()
    (run.folder / "training.json").unlink()
    path = checkpoints(run.folder / "checkpoints")[-1]
    whole = torch.load(path, weights_only=True)
    optimizer = whole["models"]["generator"]["optimizer"]
    weight = next(iter(optimizer["state"]))
    state = ("models", "generator", "optimizer", "state")

    def with_state(changed: object) -> dict[str, Any]:
        model = {**whole["models"]["generator"], "optimizer": {**optimizer, "state": changed}}
        return {**whole, "models": {**whole["models"], "generator": model}}

    other = {**optimizer["state"][weight], "exp_avg": torch.zeros(3)}
    extra = {**whole["models"], "guide": whole["models"]["generator"]}
    for content, said in (
        (with_state({}), "the optimizer state of generator after 1 step is missing"),
        (_without(whole, *state, weight, "exp_avg_sq"), "the optimizer state of generator is incomplete"),
        (with_state({**optimizer["state"], weight: other}), "or has another shape"),
        (_without(whole, "models", "critic"), "parts critic are missing"),
        ({**whole, "models": extra}, "parts guide are missing in it, or the method does not have them"),
        ({**whole, "iteration": 3}, "after 3 iterations, but its name has another"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=rf"is damaged \(ValueError: .*{said}.*rm "):
            runner.run(run)
    assert not run.record.exists()


def test_a_loss_that_does_not_reach_the_student_is_no_training(
    plan: Callable[..., Run], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_nothing(self: DMD, batch: Batch) -> dict[str, Tensor]:
        loss = batch.real.mean()
        self.backward_and_step(self.generator, loss)
        return {"loss/a": loss}

    def of_the_critic(self: DMD, _: Batch) -> dict[str, Tensor]:
        loss = next(self.models["critic"].network.parameters()).sum()
        self.backward_and_step(self.generator, loss)
        return {"loss/a": loss.detach()}

    for step, said in (
        (of_nothing, "the loss of model 'generator' does not depend on any trained network"),
        (of_the_critic, "the loss of model 'generator' does not depend on its network"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(DMD, "training_step", step)
            record = runner.run(plan(iterations=2, lr=1e-3 if step is of_nothing else 2e-3))
        assert record.error is not None and said in record.error.message and not record.metrics


def test_overrides_are_taken_once_and_as_what_they_are() -> None:
    assert parse_overrides(["batch-size=4", "lr = 0.1"]) == {"batch_size": 4, "lr": 0.1}
    for twice in (["lr=1", "lr=2"], ["batch-size=4", "batch_size=8"], ["lr=1", " lr =2"]):
        with pytest.raises(UserError, match="twice"):
            parse_overrides(twice)
    with pytest.raises(UserError, match=r"--set betas is nested too deeply: \[\[\["):
        parse_overrides(["betas=" + "[" * 100_000])
    for empty in ("=1", " =1", "lr"):
        with pytest.raises(UserError, match="--set takes key=value"):
            parse_overrides([empty])


@pytest.mark.parametrize(("key", "value"), [("iterations", True), ("lr", False), ("betas", [True, 0.9])])
def test_true_is_no_number(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"bad value .* for recipe key '{key}' .* it cannot be true or false"):
        build_recipe(Recipe, {key: value}, "x")
    assert build_recipe(Recipe, {"keep_best": True, "iterations": 5}, "x").keep_best
