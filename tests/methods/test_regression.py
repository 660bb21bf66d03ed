"""Plain regression distillation: a training step is an AdamW step on the mean squared error of pairs."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_task_context import BATCH, PAIRS, make_batch, make_context, same, weights

from bench.training.step_rng import StepRNG
from methods.recipes import RegressionRecipe
from methods.regression import RegressionDistiller


@pytest.fixture
def method() -> RegressionDistiller:
    recipe = RegressionRecipe(lr=1e-4, batch_size=BATCH, clip_norm=0.5, pairs=len(PAIRS.noise))
    return RegressionDistiller(recipe, make_context())


def test_one_step_equals_the_formula(method: RegressionDistiller) -> None:
    """Pairs start at pure noise, sigma 80."""
    student = copy.deepcopy(method.generator.network)
    figures = method.training_step(make_batch(3))

    positions = StepRNG(seed=0, iteration=3).integers(0, 10, BATCH)
    z, y, condition = PAIRS.noise[positions], PAIRS.image[positions], PAIRS.condition[positions]
    made = student(80 * z, torch.full((BATCH,), 80.0), condition)
    loss = ((made - y) ** 2).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 0.5)
    torch.optim.AdamW(student.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=0.01).step()

    torch.testing.assert_close(figures["loss/regression"], loss.detach())
    torch.testing.assert_close(method.generator.gradient_norm, norm)
    torch.testing.assert_close(figures["pixel_std"], ((made.detach() + 1) / 2).clamp(0, 1).std())
    for (name, p), q in zip(method.generator.network.named_parameters(), student.parameters(), strict=True):
        if not name.endswith("to_k.bias"):  # without effect: its gradient is rounding that Adam makes large
            torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_only_the_student_is_trained_and_its_updates_are_counted(method: RegressionDistiller) -> None:
    teacher = weights(method.teacher)
    for iteration in range(3):
        method.training_step(make_batch(iteration))
    assert list(method.models) == ["generator"]
    assert method.generator.updates == 3
    assert same(teacher, method.teacher) and not same(teacher, method.generator.network)
