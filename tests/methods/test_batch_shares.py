"""Methods train alike on a whole batch, on micro-batches, and on the shares of two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes
from tiny_task_context import BATCH, PAIRS, make_batch, make_context

from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, Distiller, MicroBatch
from bench.training.step_rng import StepRNG

METHODS = load_catalogue().methods
VALUES: dict[str, dict[str, Any]] = {
    "sid": {},
    "sida": {"student_steps": 2},
    "diff-instruct": {},
    "progressive": {"starting_steps": 4},  # each iteration is a stage
    "rectified": {"pairs": len(PAIRS.noise)},  # the first iteration is reflow, the second distillation
}


def make(name: str) -> Distiller[Any]:
    values = {"iterations": 2, "batch_size": BATCH, "lr": 1e-4, "warmup": 0, **VALUES[name]}
    method = METHODS.get(name)
    torch.manual_seed(0)
    return method.load()(method.recipe("tiny", "micro", values), make_context())


def share(iteration: int, index: int, shares: int) -> Batch:
    """Return one share of an iteration's batch."""
    whole, part = make_batch(iteration), slice(index * BATCH // shares, (index + 1) * BATCH // shares)
    rng = StepRNG(0, iteration, share=index, shares=shares)
    return Batch(iteration, rng, whole.condition[part], whole.real[part], whole.real_condition[part])


def norms(name: str, parts: int) -> list[float]:
    """Train two iterations on this process's share, in a number of micro-batches; return the gradient norms.

    SiD's first one is rounding, since its critic starts as the teacher.
    """
    method, found = make(name), list[float]()
    rank, processes = method.accelerator.process_index, method.accelerator.num_processes
    for iteration in range(2):
        for index in range(parts):
            method.micro_batch = MicroBatch(index, parts)
            method.training_step(share(iteration, rank * parts + index, processes * parts))
        found += [
            float(model.gradient_norm) for model in method.models.values() if model.gradient_norm is not None
        ]
    return found


@pytest.mark.parametrize("name", VALUES)
def test_micro_batches_add_up_to_the_batch(name: str) -> None:
    assert norms(name, 3) == pytest.approx(norms(name, 1), rel=1e-3, abs=1e-6)


def test_two_processes_exchange_the_gradients_of_every_network(tmp_path: Path) -> None:
    def work() -> None:
        found = {name: norms(name, 1) for name in VALUES}
        torch.save(found, tmp_path / f"norms{torch.distributed.get_rank()}")

    expected = {name: norms(name, 1) for name in VALUES}
    in_processes(2, work)
    for rank in range(2):
        found = torch.load(tmp_path / f"norms{rank}", weights_only=True)
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-6), name
