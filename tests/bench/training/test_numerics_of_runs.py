"""A run computes as its recipe says, and makes images as its protocol says, whatever was set before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bench.core.numerics import tf32
from bench.models.backbones.edm import EDMDenoiser
from bench.runs.plan import Run
from bench.runs.runner import Runner
from methods.dmd import DMD


class Seen(NamedTuple):
    """What a network's call met."""

    trains: bool
    tf32: bool
    deterministic: bool


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[Seen]:
    """Return what the calls of networks meet, in and out of training steps."""
    found: set[Seen] = set()
    training = False
    step, call = DMD.training_step, EDMDenoiser.forward

    def training_step(self: DMD, *args: Any) -> dict[str, Tensor]:
        nonlocal training
        training = True
        try:
            return step(self, *args)
        finally:
            training = False

    def forward(self: EDMDenoiser, *args: Any, **kwargs: Any) -> Tensor:
        allowed = {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}
        assert len(allowed) == 1
        found.add(Seen(training, allowed.pop(), torch.are_deterministic_algorithms_enabled()))
        return call(self, *args, **kwargs)

    monkeypatch.setattr(DMD, "training_step", training_step)
    monkeypatch.setattr(EDMDenoiser, "forward", forward)
    return found


@pytest.mark.parametrize("of_recipe", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_the_recipe_decides_how_training_computes_and_the_protocol_how_images_are_made(
    of_recipe: bool, before: bool, plan: Callable[..., Run], runner: Runner, seen: set[Seen], tmp_path: Path
) -> None:
    values = {"iterations": 1, "tf32": of_recipe, "deterministic": True}
    with tf32(before):
        record = runner.run(plan("dmd2", root=tmp_path, **values))
        assert torch.backends.cudnn.allow_tf32 == before and not torch.are_deterministic_algorithms_enabled()
    assert record.error is None
    assert seen == {Seen(True, of_recipe, True), Seen(False, runner.prepared.task.protocol.tf32, True)}
    assert record.method.recipe["tf32"] is of_recipe and record.method.recipe["deterministic"] is True


def test_runs_and_protocols_from_before_these_options_keep_their_names(plan: Callable[..., Run]) -> None:
    run = plan("dmd2")
    assert run.id == plan("dmd2", tf32=True, deterministic=False).id
    assert len({run.id, plan("dmd2", tf32=False).id, plan("dmd2", deterministic=True).id}) == 3
    protocol = run.task.protocol
    assert "tf32" not in protocol.as_dict() and replace(protocol, tf32=False).as_dict()["tf32"] is False
