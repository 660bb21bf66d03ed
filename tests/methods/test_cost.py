"""The costs that are printed before a run equal the counted calls of a training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_task_context import make_batch, make_context
from torch import Tensor

from bench.runs.registry import load_catalogue
from bench.training.recipe import Recipe
from methods.dmd import DMD
from methods.recipes import DMDRecipe

METHODS = load_catalogue().methods


def recipe(method: str = "dmd2", **values: object) -> DMDRecipe:
    found = METHODS.get(method).recipe("", "paper", {"iterations": 10, **values})
    assert isinstance(found, DMDRecipe)
    return found


def forward(recipe: Recipe) -> dict[str, int]:
    return {name: passes.forward for name, passes in recipe.cost().passes.items()}


def test_passes_of_dmd2() -> None:
    """Ten iterations, of which the first and the sixth are the generator's too."""
    assert forward(recipe()) == {"student": 10, "teacher": 2, "critic": 12, "critic's encoder": 22}
    backward = {name: passes.backward for name, passes in recipe().cost().passes.items()}
    assert backward == {"student": 2, "teacher": 0, "critic": 10, "critic's encoder": 22}


@pytest.mark.parametrize(
    ("values", "network", "passes"),
    [
        ({"shared_critic_draws": True}, "critic's encoder", 12),
        ({"r1_weight": 1.0}, "critic's encoder", 32),
        ({"guidance_scale": 3.0}, "teacher", 4),
        ({"regression": True}, "student", 12),
        ({"student_steps": 4}, "student", 25),
        ({"distribution_matching": False}, "teacher", 0),
        ({"critic_denoising": False}, "critic", 2),
    ],
)
def test_what_changes_them(values: dict[str, object], network: str, passes: int) -> None:
    assert forward(recipe(**values))[network] == passes


@pytest.mark.parametrize("values", [{}, {"gan": False}, {"regression": True, "pairs": 10}])
def test_passes_are_those_that_training_steps_make(values: dict[str, Any]) -> None:
    """Hooks count the calls of student and teacher, and the backward passes through the student."""
    own = recipe(**values, batch_size=6)
    method = DMD(own, make_context())
    counts = {"student": 0, "teacher": 0, "back": 0}

    def count(_module: object, _inputs: object, output: Tensor) -> None:
        counts["student"] += 1
        counts["back"] += torch.is_grad_enabled() and output.requires_grad

    method.generator.network.register_forward_hook(count)
    method.teacher.register_forward_hook(lambda *_: counts.update(teacher=counts["teacher"] + 1))
    for iteration in range(own.iterations):
        method.training_step(make_batch(iteration))
    passes = own.cost().passes
    assert counts == {
        "student": passes["student"].forward,
        "teacher": passes["teacher"].forward,
        "back": passes["student"].backward,
    }
    assert method.generator.updates == own.cost().generator_updates


def test_generator_updates_are_rounded_up() -> None:
    assert recipe("dmd-ttur", iterations=11).cost().generator_updates == 3


def test_memory_is_of_teacher_student_and_critic() -> None:
    assert recipe().cost().least_memory(100) == 100 * 4 * (1 + 4 + 4)
    assert recipe(ema_decay=0.9).cost().least_memory(100) == 100 * 4 * (1 + 4 + 1 + 4)
    assert METHODS.get("regression").recipe("", "paper", {}).cost().least_memory(100) == 100 * 4 * (1 + 4)


def test_a_plug_in_that_says_nothing_has_one_trained_network() -> None:
    cost = Recipe(iterations=10).cost()
    assert {name: tuple(passes) for name, passes in cost.passes.items()} == {
        "student": (10, 10),
        "teacher": (10, 0),
    }
    assert (cost.generator_updates, cost.trained, cost.averages) == (10, 1, 0)
