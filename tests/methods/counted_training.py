"""A method that trains a few iterations, and the passes that were counted meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from bench.runs.registry import load_catalogue
from bench.training.cost import Passes
from bench.training.distiller import Batch, Distiller, TrainingContext
from bench.training.passes import PassCounter

METHODS = load_catalogue().methods
ITERATIONS = 7
"""Two turns of a generator with five critic updates, the second one cut off."""


def make(name: str, context: TrainingContext, batch_size: int, **values: Any) -> Distiller[Any]:
    """Return a method with the values that tests of all methods give it, where its recipe has them, and others."""
    method = METHODS.get(name)
    common = {"pairs": 10, "guidance_scale": 3.0}
    given = {"iterations": ITERATIONS, "batch_size": batch_size}
    given |= {key: value for key, value in common.items() if key in method.recipe_model().model_fields}
    return method.load()(method.recipe("", "micro", given | values), context)


class Training(NamedTuple):
    """Figures of each iteration, and the counted passes of whole batches by network."""

    figures: list[dict[str, Tensor]]
    passes: dict[str, Passes]


def train(distiller: Distiller[Any], batch_of: Callable[[int], Batch]) -> Training:
    """Train with the batch of each iteration, whose size is the recipe's."""
    counter, figures = PassCounter(distiller), []
    for iteration in range(ITERATIONS):
        distiller.set_rates(iteration)
        figures.append(distiller.training_step(batch_of(iteration)))
    size = distiller.recipe.batch_size
    passes = {name: Passes(*(images / size for images in found)) for name, found in counter.counts.items()}
    return Training(figures, passes)


def assert_announced(distiller: Distiller[Any], found: dict[str, Passes]) -> None:
    """The counted passes are those of the recipe's cost.

    Steps before a student's input are drawn for each batch, so their number is announced as its mean.
    """
    recipe = distiller.recipe
    announced = {network: passes for network, passes in recipe.cost().passes.items() if any(passes)}
    if recipe.student_steps > 1:
        drawn = found["student"].forward - announced["student"].forward
        assert abs(drawn) <= ITERATIONS * (recipe.student_steps - 1)
        announced["student"] = announced["student"]._replace(forward=found["student"].forward)
    assert found == announced
