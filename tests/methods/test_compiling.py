"""Compiled networks, whole or by blocks, train like uncompiled ones; graphs are counted, timed and limited."""

from __future__ import annotations

from typing import Any

import one_base_support as text
import pytest
import torch
from tiny_task_context import BATCH, make_batch, make_context
from torch import Tensor

from bench.core.errors import UserError
from bench.runs.registry import load_catalogue
from bench.training.compiling import CompileClock, compiling
from bench.training.distiller import Distiller

METHODS = load_catalogue().methods
FAST = {"compile_backend": "aot_eager"}  # traces and differentiates as inductor does, without its C++
BLOCKS = {**FAST, "compile_units": "blocks"}


def make(**values: Any) -> Distiller[Any]:
    settings = {"batch_size": BATCH, "warmup": 0, "critic_updates_per_generator_update": 2, "gan": False, **values}
    method = METHODS.get("dmd2")
    torch.manual_seed(0)
    return method.load()(method.recipe("tiny", "micro", settings), make_context())


def trained(method: Distiller[Any], batches: Any = make_batch) -> tuple[dict[str, Tensor], CompileClock]:
    """Train four iterations; return the trained weights, and what was compiled."""
    torch._dynamo.reset()
    clock = CompileClock()
    method.release_teacher()
    with compiling(method.recipe, clock):
        for iteration in range(4):
            method.training_step(batches(iteration))
    found = {
        f"{name}: {weight}": value
        for name, model in method.models.items()
        for weight, value in model.state_dict().items()
    }
    return found, clock


def same(found: dict[str, Tensor], expected: dict[str, Tensor], most: float) -> None:
    """Check that weights differ by rounding; a key's bias has no effect, so that its gradient is rounding."""
    for name, value in expected.items():
        if "to_k" not in name or "bias" not in name:
            torch.testing.assert_close(found[name], value, rtol=10 * most, atol=most, msg=name)


@pytest.mark.parametrize("values", [FAST, BLOCKS], ids=["whole", "blocks"])
def test_four_iterations_are_those_of_uncompiled_networks(values: dict[str, Any]) -> None:
    expected, none = trained(make())
    found, clock = trained(make(**values))
    assert (none.graphs, none.seconds) == (0, 0)
    assert clock.graphs > 0 and clock.seconds > 0
    same(found, expected, 1e-5)


@pytest.mark.parametrize("family", ["text", "sd3"])
def test_blocks_of_text_networks_are_compiled_once_for_all_networks(family: str) -> None:
    def make_text(**values: Any) -> Distiller[Any]:
        plain = {"precision": "fp32", "gradient_checkpointing": False, "gan": False}
        return text.make("dmd2", text.make_teacher(family), **plain, **values)

    expected, _ = trained(make_text(), text.make_batch)
    found, clock = trained(make_text(**BLOCKS), text.make_batch)
    blocks = 3 * len([*text.make_teacher(family).repeated_blocks()])
    assert 0 < clock.graphs < 3 * blocks  # each of them alone: with gradients, without, and the backward pass
    same(found, expected, 1e-4)


def test_more_graphs_than_the_recipe_allows_run_uncompiled() -> None:
    _, many = trained(make(**BLOCKS))
    found, few = trained(make(**BLOCKS, compile_graphs=1))
    assert 0 < few.graphs < many.graphs
    assert many.reached is None and "compile_graphs" not in str(many)
    assert "more than compile_graphs=1, and runs uncompiled beyond them; --set compile_graphs=2 allows" in str(few)
    expected, _ = trained(make())
    same(found, expected, 1e-5)


def test_a_missing_compiler_is_named_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make(compile_backend="inductor").recipe
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/none"))
    with (
        pytest.raises(UserError, match=r"no compiler g\+\+ here.*fix: install g\+\+, or "),
        compiling(recipe, CompileClock()),
    ):
        pass
