"""Methods that learn a map along the ODE give the same gradients from micro-batches and from several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes
from tiny_task_context import make_batch, make_context

from bench.training.distiller import Batch, Distiller, MicroBatch
from bench.training.step_rng import StepRNG
from methods.consistency import Consistency, ConsistencyRecipe
from methods.meanflow import MeanFlow, MeanFlowRecipe
from methods.scm import SCM, SCMRecipe

METHODS: dict[str, Callable[[], Distiller[Any]]] = {
    "consistency": lambda: Consistency(ConsistencyRecipe(), make_context()),
    "scm": lambda: SCM(SCMRecipe(tangent_warmup=0), make_context()),
    "meanflow": lambda: MeanFlow(MeanFlowRecipe(instant_share=0.5), make_context()),
}


def share_of(share: int, shares: int) -> Batch:
    """Return one share of the batch of an iteration, as the trainer makes it."""
    whole = make_batch()
    parts = (part.chunk(shares)[share] for part in (whole.condition, whole.real, whole.real_condition))
    return Batch(0, StepRNG(0, 0, share=share, shares=shares), *parts)


def norm_of_two_micro_batches(name: str) -> torch.Tensor | None:
    method = METHODS[name]()
    for index in range(2):
        method.micro_batch = MicroBatch(index, 2)
        method.training_step(share_of(index, 2))
    return method.generator.gradient_norm


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_and_processes_give_the_gradients_of_the_whole_batch(name: str, tmp_path: Path) -> None:
    whole = METHODS[name]()
    whole.training_step(make_batch())

    def work() -> None:
        method = METHODS[name]()
        rank = method.accelerator.process_index
        method.training_step(share_of(rank, 2))
        torch.save(method.generator.gradient_norm, tmp_path / f"{rank}")

    in_processes(2, work)
    found = [torch.load(tmp_path / f"{rank}") for rank in range(2)]
    for norm in (*found, norm_of_two_micro_batches(name)):
        torch.testing.assert_close(norm, whole.generator.gradient_norm, rtol=1e-4, atol=0)
