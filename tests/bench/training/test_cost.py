"""Costs that are printed before a run, against counts of what a training step calls."""

from __future__ import annotations

import pytest

from bench.training.cost import forward_passes, generator_updates, least_memory
from methods.catalogue import DMD2, DMD_TTUR, REGRESSION
from methods.recipes import DMDRecipe


def recipe(method: object = DMD2, **values: object) -> DMDRecipe:
    found = method.recipe("", "paper", {"iterations": 10, **values})  # type: ignore[attr-defined]
    assert isinstance(found, DMDRecipe)
    return found


def test_passes_of_dmd2() -> None:
    """Ten iterations, of which the first and the sixth are the generator's too."""
    assert forward_passes(recipe()) == {"student": 10, "teacher": 2, "critic": 12, "critic's encoder": 22}


@pytest.mark.parametrize(
    ("values", "network", "passes"),
    [
        ({"shared_critic_draws": True}, "critic's encoder", 12),
        ({"guidance_scale": 3.0}, "teacher", 4),
        ({"regression": True}, "student", 12),
        ({"student_steps": 4}, "student", 25),
        ({"distribution_matching": False}, "teacher", 0),
        ({"critic_denoising": False}, "critic", 2),
    ],
)
def test_what_changes_them(values: dict[str, object], network: str, passes: int) -> None:
    assert forward_passes(recipe(**values))[network] == passes


def test_generator_updates_are_rounded_up() -> None:
    assert generator_updates(recipe(DMD_TTUR, iterations=11)) == 3


def test_memory_is_of_teacher_student_and_critic() -> None:
    assert least_memory(recipe(), 100) == 100 * 4 * (1 + 4 + 4)
    assert least_memory(recipe(ema_decay=0.9), 100) == 100 * 4 * (1 + 4 + 1 + 4)
    assert least_memory(REGRESSION.recipe("", "paper", {}), 100) == 100 * 4 * (1 + 4)
