"""Counted passes that are not those of the recipe's `cost()` are found."""

from __future__ import annotations

from typing import Any

import pytest
from example_records import EXAMPLE, Found

from bench.core.errors import UserError
from bench.runs.registry import load_catalogue
from bench.training.budget import Spent
from bench.training.cost import Cost
from bench.training.recipe import Recipe, build_recipe

KNOWN = load_catalogue().methods.get("dmd2")


def announced(**values: Any) -> dict[str, dict[str, int]]:
    """Return the passes of images that the example's recipe announces."""
    recipe = build_recipe(KNOWN.recipe_model(), EXAMPLE["method"]["recipe"] | values, "it")
    return {
        name: {"forward": recipe.batch_size * one.forward, "backward": recipe.batch_size * one.backward}
        for name, one in recipe.cost().passes.items()
    }


def test_counts_that_the_recipe_announces_and_missing_ones_have_no_finding(found_in: Found) -> None:
    assert not any("passes" in line for line in found_in({"cost.passes": announced()}))
    assert not any("passes" in line for line in found_in({}))


@pytest.mark.parametrize("given", [{"student": 1}, Cost({"student": 1}, 1)])  # type: ignore[dict-item]
def test_a_cost_of_another_type_is_refused_with_the_recipes_class(
    given: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "cost", lambda _: given)
    with pytest.raises(UserError, match=r"cost\(\) of Recipe returned .*'student': 1.*; fix: return a Cost"):
        Spent.by(Recipe())


@pytest.mark.parametrize(
    ("network", "direction", "said"),
    [
        ("teacher", "forward", "9,601 forward and 0 backward passes of images through teacher were counted, but"),
        ("critic's encoder", "backward", "but the recipe announces 105,600 and 105,600"),
    ],
)
def test_other_counts_are_a_warning(found_in: Found, network: str, direction: str, said: str) -> None:
    passes = announced()
    passes[network][direction] += 1
    (line,) = (line for line in found_in({"cost.passes": passes}) if "passes" in line)
    assert line.startswith("warning: ") and said in line and "fix: correct cost() of the method's recipe" in line


def test_a_network_that_is_not_announced_or_not_counted_is_a_warning(found_in: Found) -> None:
    passes = announced() | {"target": {"forward": 5, "backward": 0}}
    del passes["critic"]
    lines = [line for line in found_in({"cost.passes": passes}) if "passes" in line]
    assert len(lines) == 2 and "through critic were counted" in lines[0] and "announces 0 and 0" in lines[1]
    assert "only denoisers are counted: if critic is none, leave it out" in lines[0]
    assert "only denoisers" not in lines[1]


def test_simulated_steps_may_differ_from_their_mean_by_chance_alone(found_in: Found) -> None:
    values, passes = {"method.recipe.student_steps": 4}, announced(student_steps=4)
    passes["student"]["forward"] += 32 * 100
    assert not any("passes" in line for line in found_in(values | {"cost.passes": passes}))
    passes["student"]["forward"] += 32 * 1000
    assert any("through student were counted" in line for line in found_in(values | {"cost.passes": passes}))


def test_of_a_method_that_is_not_registered_nothing_is_compared(found_in: Found) -> None:
    values = {"method.distiller": "elsewhere:Other", "cost.passes": {"student": {"forward": 1, "backward": 1}}}
    assert not any("passes of images" in line for line in found_in(values))
