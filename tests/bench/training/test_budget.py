"""A budget fixes the iterations: the most within it, in passes, in images or in generator updates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.core.errors import UserError
from bench.training.budget import Budget, Spent
from bench.training.cost import Cost, Passes, work
from bench.training.recipe import Recipe
from methods.recipes import DMDRecipe


def test_work_counts_a_backward_pass_twice_and_an_encoder_half() -> None:
    passes = {"student": Passes(10, 2), "critic's encoder": Passes(4, 1), "teacher": Passes(3, 0)}
    assert work(passes) == 14 + 3 + 3
    assert Cost(passes, generator_updates=2).work == 20


def test_what_a_training_of_dmd2_takes() -> None:
    """Ten iterations, of which two are the generator's: 24 forward and 12 backward passes, 22 of the encoder."""
    spent = Spent.by(DMDRecipe(iterations=10, batch_size=32))
    assert (spent.iterations, spent.generator_updates, spent.images) == (10, 2, 320)
    assert spent.passes == 32 * (24 + 2 * 12 + (22 + 2 * 22) / 2)


@pytest.mark.parametrize("unit", ["passes", "images", "generator_updates"])
@pytest.mark.parametrize("amount", [20_000, 20_001, 123_457])
@pytest.mark.parametrize(
    "recipe", [Recipe(batch_size=8), DMDRecipe(batch_size=7), DMDRecipe(batch_size=4, student_steps=4)]
)
def test_the_iterations_are_the_most_within_the_budget(unit: str, amount: int, recipe: Recipe) -> None:
    budget = Budget.of({unit: amount})
    found = budget.iterations(recipe, "it")

    def spent(iterations: int) -> float:
        return getattr(Spent.by(recipe.model_copy(update={"iterations": iterations})), unit)

    assert spent(found) <= amount < spent(found + 1)


def test_a_budget_of_generator_updates_gives_the_critic_its_turns_too() -> None:
    recipe = DMDRecipe(critic_updates_per_generator_update=5)
    assert Budget("generator_updates", 3).iterations(recipe, "it") == 15


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"pass": 1}, r"unknown unit 'pass' of a budget; did you mean 'passes'"),
        ({}, "a budget has one unit, not 0; fix: give one of passes, images, generator_updates"),
        ({"passes": 1, "images": 1}, "not 2"),
        ({"passes": 0}, "bad budget of passes 0; fix: give a whole number, 1 or more"),
        ({"images": 1.5}, "bad budget of images 1.5"),
        ({"images": True}, "bad budget of images True"),
    ],
)
def test_a_bad_budget_is_named(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Budget.of(values)


def test_a_budget_that_is_too_small_names_the_method_and_the_need() -> None:
    with pytest.raises(UserError, match=r"one iteration of scm takes 256 passes, more than the budget of 100"):
        Budget("passes", 100).iterations(Recipe(batch_size=64), "scm")


def test_a_cost_that_does_not_rise_with_iterations_is_refused() -> None:
    class Free(Recipe):
        def cost(self) -> Cost:
            return replace(super().cost(), passes={})

    with pytest.raises(UserError, match=r"its cost\(\) does not rise"):
        Budget("passes", 100).iterations(Free(), "it")


def test_a_budget_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"000,000 passes sets no end to it: it has room for 2\^40"):
        Budget("passes", 10**17).iterations(Recipe(), "it")
