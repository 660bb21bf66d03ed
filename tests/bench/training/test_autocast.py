"""Under autocast a network computes with its present weights and gets gradients, whatever was called before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from bench.training.accelerator import accelerator_of
from bench.training.recipe import Recipe

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def bf16() -> Iterator[Accelerator]:
    """What a recipe with precision=bf16 trains on."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield accelerator_of(Recipe(precision="bf16"), cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_call_after_the_optimisers_step_uses_the_new_weights(bf16: Accelerator) -> None:
    """TDM's critic is stepped before the generator's loss asks it, within one iteration."""
    network = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with bf16.autocast():
        before = network(X)
        before.sum().backward()
        optimizer.step()
        with torch.no_grad():
            after = network(X)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = network(X)
    assert torch.equal(after, expected) and not torch.equal(before, expected)


def test_a_call_without_gradients_takes_none_from_a_later_one(bf16: Accelerator) -> None:
    """A student of four steps makes its own input before it is trained on it."""
    network = nn.Linear(8, 8)
    with bf16.autocast():
        with torch.no_grad():
            made = network(X)
        network(made).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_the_precision_is_the_recipes(bf16: Accelerator) -> None:
    assert bf16.mixed_precision == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
    for precision in ("fp32", "bf16-weights"):
        assert accelerator_of(Recipe.model_validate({"precision": precision}), cpu=True).mixed_precision == "no"
