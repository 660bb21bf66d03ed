"""The suites of the tournament: every method is tuned alike, within one budget, on a seed that is not reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.runs.registry import Catalogue
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import question_of
from bench.runs.suites.suite import SuiteScale
from bench.runs.tuning.plan import TuningPlan
from bench.training.budget import Spent

SCALES = [
    pytest.param(load_suite(name).scale("micro"), id=name)
    for name in ("tournament", "tournament-4step", "tournament-scenes")
]
SCALES.append(pytest.param(load_suite("tournament-scenes").scale("micro").on("scenes-flow"), id="scenes-flow"))


@pytest.mark.parametrize("scale", SCALES)
def test_every_method_has_four_recipes_to_be_tuned_over(scale: SuiteScale) -> None:
    """Two learning rates, and two values of one number of its own."""
    for row in scale.rows:
        own = [key for key in row.tune if key != "lr"]
        assert len(row.tune["lr"]) == 2 and len(own) == 1 and len(row.tune[own[0]]) == 2, row.label
    assert scale.budget is not None and scale.tuning_seed not in scale.seeds


@pytest.mark.parametrize("scale", SCALES)
def test_every_point_is_a_recipe_that_uses_up_the_budget(scale: SuiteScale, catalogue: Catalogue) -> None:
    assert scale.budget is not None
    task = catalogue.tasks.get(scale.task)
    for row in scale.rows:
        for run in TuningPlan.of(question_of(row, scale, catalogue, task), catalogue, task, Path("runs")).runs:
            assert 0.99 * scale.budget.amount < Spent.by(run.recipe).passes <= scale.budget.amount


@pytest.mark.parametrize(("name", "steps"), [("tournament", 1), ("tournament-4step", 4), ("tournament-scenes", 4)])
def test_every_student_of_a_suite_has_as_many_steps(name: str, steps: int, catalogue: Catalogue) -> None:
    scale = load_suite(name).scale("micro")
    task = catalogue.tasks.get(scale.task)
    for row in scale.rows:
        recipe = catalogue.methods.get(row.method).recipe(task.name, task.scale, row.overrides)
        assert recipe.student_steps == steps, row.method
