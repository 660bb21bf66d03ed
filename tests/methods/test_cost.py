"""The costs that are printed before a run equal the counted calls of a training step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from tiny_task_context import BATCH, make_batch, make_context
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
        ({"guidance_scale": 3.0, "decoupled": True}, "teacher", 6),
        ({"discriminator_features": "teacher"}, "teacher's encoder", 22),
        ({"discriminator_features": "teacher", "divergence": "kl"}, "teacher's encoder", 24),
        ({"divergence": "kl"}, "critic's encoder", 22),
        ({"regression": True}, "student", 12),
        ({"student_steps": 4}, "student", 25),
        ({"distribution_matching": False}, "teacher", 0),
        ({"critic_denoising": False}, "critic", 2),
    ],
)
def test_what_changes_them(values: dict[str, object], network: str, passes: int) -> None:
    assert forward(recipe(**values))[network] == passes


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("dmd2", {}),
        ("dmd2", {"gan": False}),
        ("dmd2", {"regression": True, "pairs": 10}),
        ("dmd2", {"r1_weight": 1.0}),
        ("dmd2", {"shared_critic_draws": True, "r1_weight": 1.0}),
        ("dmd2", {"gan_same_noise": True}),
        ("gan", {"r1_weight": 1.0, "discriminator_features": "teacher"}),
        ("f-distill", {}),
        ("f-distill", {"discriminator_features": "teacher", "guidance_scale": 3.0}),
        ("dmd2-teacher-gan", {"r1_weight": 1.0}),
        ("dmd2-ida", {}),
        ("decoupled-dmd", {"student_steps": 1, "guidance_scale": 3.0}),
        ("decoupled-dmd-cdm", {"student_steps": 1, "guidance_scale": 3.0, "gan": True}),
        ("decoupled-dmd-senseflow", {"student_steps": 1, "guidance_scale": 3.0}),
    ],
)
def test_passes_are_those_that_training_steps_make(method: str, values: dict[str, Any]) -> None:
    """Each image that a network or an encoder takes is counted, and each that a gradient flows back from."""
    own = recipe(method, **values, batch_size=BATCH)
    distiller = DMD(own, make_context(null_condition=torch.tensor([2])))
    forward, backward = Counter[str](), Counter[str]()

    def count(name: str, network: Any, function: str) -> None:
        original = getattr(network, function)

        def counted(x_t: Tensor, *rest: Any) -> Any:
            forward[name] += len(x_t)
            found = original(x_t, *rest)
            first = found[0] if isinstance(found, tuple) else found
            if first.requires_grad:
                first.register_hook(lambda gradient: backward.update({name: len(gradient)}))
            return found

        setattr(network, function, counted)

    critic = distiller.critic.network.denoiser
    networks = {"student": distiller.generator.network, "teacher": distiller.teacher, "critic": critic}
    for name, network in networks.items():  # `with_features` calls `forward`
        count(name, network, "forward")
        count(f"{name}'s encoder", network, "features")
    for iteration in range(own.iterations):
        distiller.training_step(make_batch(iteration))
    passes = own.cost().passes
    assert {name: (forward[name] / BATCH, backward[name] / BATCH) for name in passes} == dict(passes)
    assert {name for name, count in forward.items() if count} <= passes.keys()
    assert distiller.generator.updates == own.cost().generator_updates


def test_generator_updates_are_rounded_up() -> None:
    assert recipe("dmd-ttur", iterations=11).cost().generator_updates == 3


def test_memory_is_of_teacher_student_and_critic() -> None:
    assert recipe().cost().least_memory(100) == 100 * 4 * (1 + 3 + 3 + 1)
    assert recipe(ema_decay=0.9).cost().least_memory(100) == 100 * 4 * (1 + 3 + 3 + 1 + 1)
    assert METHODS.get("regression").recipe("", "paper", {}).cost().least_memory(100) == 100 * 4 * (1 + 4)


def test_a_plug_in_that_says_nothing_has_one_trained_network() -> None:
    cost = Recipe(iterations=10).cost()
    assert {name: tuple(passes) for name, passes in cost.passes.items()} == {
        "student": (10, 10),
        "teacher": (10, 0),
    }
    assert (cost.generator_updates, cost.trained, cost.averages) == (10, 1, 0)
