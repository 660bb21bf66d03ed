"""What every built-in method says its training costs is what the framework counts."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_task_context import BATCH, make_batch, make_context

from bench.runs.registry import load_catalogue
from bench.training.cost import Passes
from bench.training.passes import PassCounter

METHODS = load_catalogue().methods
ITERATIONS = 7
"""Two turns of a generator with five critic updates, the second one cut off."""


def counted(name: str, **values: Any) -> tuple[dict[str, Passes], dict[str, Passes]]:
    """Return the passes of batches that a method's recipe announces, and those that were counted in training."""
    method = METHODS.get(name)
    given = {"iterations": ITERATIONS, "batch_size": BATCH, **values}
    fields = method.recipe_model().model_fields
    recipe = method.recipe("", "micro", given | ({"pairs": 10} if "pairs" in fields else {}))
    distiller = method.load()(recipe, make_context())
    counter = PassCounter(distiller)
    for iteration in range(ITERATIONS):
        distiller.training_step(make_batch(iteration))
    passes = {network: Passes(*(images / BATCH for images in found)) for network, found in counter.counts.items()}
    return {network: found for network, found in recipe.cost().passes.items() if any(found)}, passes


ONE_STEP = [entry.name for entry in METHODS if "4step" not in entry.name]


@pytest.mark.parametrize("name", ONE_STEP)
def test_the_cost_of_a_method_is_what_is_counted(name: str) -> None:
    announced, found = counted(name)
    assert found == announced


def test_simulated_steps_are_announced_as_their_mean() -> None:
    """Four steps have 0 to 3 simulated ones before them, which are drawn for each batch."""
    announced, found = counted("dmd2-4step")
    assert announced.pop("student") == (ITERATIONS + ITERATIONS * 3 // 2, 2)
    forward, backward = found.pop("student")
    assert ITERATIONS < forward < 4 * ITERATIONS and backward == 2
    assert found == announced
