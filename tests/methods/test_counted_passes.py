"""What every built-in method says its training costs is what the framework counts."""

from __future__ import annotations

import pytest
import torch
from tiny_task_context import BATCH, make_batch, make_context

from bench.runs.registry import load_catalogue
from bench.training.cost import Passes
from bench.training.passes import PassCounter
from bench.training.recipe import Recipe

METHODS = load_catalogue().methods
ITERATIONS = 7
"""Two turns of a generator with five critic updates, the second one cut off."""


def counted(name: str) -> tuple[Recipe, dict[str, Passes]]:
    """Return a method's recipe, and the passes of batches that were counted in its training."""
    method = METHODS.get(name)
    fields = method.recipe_model().model_fields
    own = {"pairs": 10, "guidance_scale": 3.0}
    given = {"iterations": ITERATIONS, "batch_size": BATCH, "lora_rank": 0}
    recipe = method.recipe("", "micro", given | {key: value for key, value in own.items() if key in fields})
    distiller = method.load()(recipe, make_context(null_condition=torch.tensor([0])))
    counter = PassCounter(distiller)
    for iteration in range(ITERATIONS):
        distiller.training_step(make_batch(iteration))
    passes = {network: Passes(*(images / BATCH for images in found)) for network, found in counter.counts.items()}
    return recipe, passes


@pytest.mark.parametrize("name", [entry.name for entry in METHODS])
def test_the_cost_of_a_method_is_what_is_counted(name: str) -> None:
    """Steps before a student's input are drawn for each batch, so their number is announced as its mean."""
    recipe, found = counted(name)
    announced = {network: passes for network, passes in recipe.cost().passes.items() if any(passes)}
    if recipe.student_steps > 1:
        drawn = found["student"].forward - announced["student"].forward
        assert abs(drawn) <= ITERATIONS * (recipe.student_steps - 1)
        announced["student"] = announced["student"]._replace(forward=found["student"].forward)
    assert found == announced
