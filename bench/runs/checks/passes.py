"""Whether a training made the passes that its recipe announces, by which budgets are kept."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.core.errors import UserError
from bench.runs.checks.finding import Finding, warning
from bench.runs.record import Record
from bench.runs.registry import Catalogue
from bench.training.budget import cost_of
from bench.training.cost import NO_PASSES, Passes
from bench.training.recipe import Recipe, build_recipe


def pass_findings(record: Record, catalogue: Catalogue) -> Iterator[Finding]:
    """Yield each network whose counted passes are not those of the recipe's `cost()`.

    Of methods that are not registered here, and of records without counts, there is nothing to compare.
    """
    recipe = _recipe(record, catalogue) if record.cost.passes else None
    if recipe is None:
        return
    announced = cost_of(recipe).passes
    counted = {name: Passes(one.forward, one.backward) for name, one in record.cost.passes.items()}
    room = _room(recipe)
    for name in {**announced, **counted}:
        wanted = Passes(*(recipe.batch_size * batches for batches in announced.get(name, NO_PASSES)))
        found = counted.get(name, NO_PASSES)
        if any(abs(one - other) > room for one, other in zip(wanted, found, strict=True)):
            fix = "correct cost() of the method's recipe, by which a suite's budget sets the iterations"
            if found == NO_PASSES:
                fix += f"; only denoisers are counted: if {name} is none, leave it out"
            yield warning(
                f"{found.forward:,} forward and {found.backward:,} backward passes of images through {name} were "
                f"counted, but the recipe announces {wanted.forward:,} and {wanted.backward:,}",
                fix,
            )


def _recipe(record: Record, catalogue: Catalogue) -> Recipe | None:
    """Return the recipe of a record's method; None if it is not registered here, or is another one."""
    method = record.method
    if record.kind != "method" or method.name not in catalogue.methods.entries:
        return None
    try:
        known = catalogue.methods.get(method.name)
        if known.distiller != method.distiller:
            return None
        return build_recipe(known.recipe_model(), method.recipe, f"method {method.name!r}")
    except UserError:
        return None


def _room(recipe: Recipe) -> float:
    """Return the difference in passes that chance explains.

    A student of N steps is trained at a step that is drawn for each batch, after as many simulated ones, of which
    `cost()` has the mean. Over T iterations their number has a standard deviation of less than 0.3 N sqrt(T).
    """
    steps = recipe.student_steps
    return 0.0 if steps == 1 else 2 * steps * math.sqrt(recipe.iterations) * recipe.batch_size
