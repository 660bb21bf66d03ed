"""Moment matching, the example of a complete method: losses on Gaussians, posterior, turns, cost, sampler."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counted_training import assert_announced, train
from gaussian_data import each_schedule
from tiny_task_context import BATCH, SHAPE, make_batch, make_context, normal, same, weights
from torch import Tensor

from bench.models.samplers import SampleNoise, few_step
from bench.models.schedules import NoiseSchedule
from bench.runs.registry import load_catalogue
from bench.training.method import Method

FILE = Path(__file__).parents[2] / "examples" / "moment_matching.py"
METHOD: Method = load_catalogue([FILE]).methods.get("moment-matching")
EXAMPLE: Any = importlib.import_module(METHOD.load().__module__)
REAL, MADE = (-0.2, 0.7), (0.3, 0.4)
"""Mean and standard deviation of the teacher's data and of the student's images."""


def build(**values: Any) -> Any:
    recipe = METHOD.recipe("tiny", "micro", {"batch_size": BATCH, **values})
    return METHOD.load()(recipe, make_context())


def double(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape).double()


def mean_given(z: Tensor, sigma: float, mean: float, std: float) -> Tensor:
    """E[x | x + sigma eps = z] for x ~ N(mean, std^2)."""
    return (std**2 * z + sigma**2 * mean) / (std**2 + sigma**2)


def quadrature(sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return student's images, their noised states [N, 1, 1, 1] and the probabilities of these [N]."""
    nodes, weight = np.polynomial.hermite_e.hermegauss(12)
    z, eps = (torch.from_numpy(grid).reshape(-1, 1, 1, 1) for grid in np.meshgrid(nodes, nodes))
    x = MADE[0] + MADE[1] * z
    return x, x + sigma * eps, torch.from_numpy(np.outer(weight, weight)).flatten() / (2 * torch.pi)


class TestLosses:
    def test_the_gradient_is_the_weighted_difference_and_passes_through_the_image_alone(self) -> None:
        x, found, taught = (double(seed, 5, *SHAPE).requires_grad_() for seed in range(3))
        weight = torch.arange(1, 6, dtype=torch.float64)
        loss = EXAMPLE.moment_loss(x, found, taught, weight)
        gradient, *others = torch.autograd.grad(loss, (x, found, taught), allow_unused=True)
        expected = weight[:, None, None, None] * (found - taught) / x.numel()
        torch.testing.assert_close(gradient, expected.detach(), rtol=1e-12, atol=0)
        assert others == [None, None]

    @pytest.mark.parametrize("pull", [0.0, 1.0, 3.0])
    @pytest.mark.parametrize("sigma", [0.1, 0.5, 2.5])
    def test_the_best_auxiliary_is_between_the_students_mean_and_the_teachers(
        self, sigma: float, pull: float
    ) -> None:
        """It is (E[x | z] + pull E_teacher[x | z]) / (1 + pull): there a change a z + b has no gradient."""
        x, z, probability = quadrature(sigma)
        taught, own = (mean_given(z, sigma, *law) for law in (REAL, MADE))
        a, b = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
        found = (own + pull * taught) / (1 + pull) + a * z + b
        each = []
        for one in zip(*(part[:, None] for part in (found, x, taught)), strict=True):
            denoising, pulled = EXAMPLE.auxiliary_losses(*one, torch.ones(1, dtype=torch.float64))
            each.append(denoising + pull * pulled)
        gradients = torch.autograd.grad((probability * torch.stack(each)).sum(), (a, b))
        torch.testing.assert_close(torch.stack(gradients), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("sigma", [0.1, 1.0, 20.0])
    def test_between_gaussians_that_differ_in_their_mean_it_leads_to_the_real_one(self, sigma: float) -> None:
        """E[x | z] - E_teacher[x | z] = k (n - m), k = sigma^2 / (s^2 + sigma^2), and the auxiliary half."""
        s, m, n = 0.7, 2.0, -0.5
        x = (n + s * double(3, 100, 1, 1, 1)).requires_grad_()
        z = (x + sigma * double(4, 100, 1, 1, 1)).detach()
        taught = mean_given(z, sigma, m, s)
        found = (mean_given(z, sigma, n, s) + taught) / 2
        loss = EXAMPLE.moment_loss(x, found, taught, torch.ones(100, dtype=torch.float64))
        (gradient,) = torch.autograd.grad(loss, x)
        expected = torch.full_like(gradient, sigma**2 / (s**2 + sigma**2) * (n - m) / 2 / 100)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)

    def test_images_that_follow_it_become_the_real_gaussian(self) -> None:
        """The auxiliary is exact, fitted to the images at each step; the teacher is N(2, .5^2)."""
        images = -1.0 + 0.2 * double(5, 32, 1, 8, 8)
        for step in range(600):
            sigma = [0.3, 1.0][step % 2]
            x = images.clone().requires_grad_()
            z = images + sigma * double(100 + step, *images.shape)
            taught = mean_given(z, sigma, 2.0, 0.5)
            found = (mean_given(z, sigma, images.mean().item(), images.std().item()) + taught) / 2
            loss = EXAMPLE.moment_loss(x, found, taught, torch.ones(32, dtype=torch.float64))
            images = images - 0.2 * x.numel() * torch.autograd.grad(loss, x)[0]
        assert images.mean().item() == pytest.approx(2.0, abs=0.03)
        assert images.std().item() == pytest.approx(0.5, abs=0.03)


@each_schedule
def test_a_draw_of_the_posterior_has_the_marginal_of_the_earlier_time(schedule: NoiseSchedule) -> None:
    """Of z_t = alpha_t x + sigma_t eps it is alpha_s x, with noise of variance sigma_s^2 in all."""
    s, t = schedule.grid[[3, 200, 600, 998]], schedule.grid[[4, 500, 999, 999]]
    zero = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    one = zero + 1

    def drawn(x: Tensor, eps: Tensor, noise: Tensor) -> Tensor:
        found: Tensor = EXAMPLE.posterior(schedule, schedule.add_noise(x, eps, t), x, t, s, noise)
        return found.flatten()

    torch.testing.assert_close(drawn(one, zero, zero), schedule.alpha(s), rtol=1e-9, atol=1e-12)
    variance = drawn(zero, one, zero) ** 2 + drawn(zero, zero, one) ** 2
    torch.testing.assert_close(variance, schedule.sigma(s) ** 2, rtol=1e-9, atol=1e-12)


def test_each_turn_trains_its_network_alone() -> None:
    distiller = build()
    for iteration, trained in enumerate(("auxiliary", "generator") * 2):
        before = {name: weights(model.network) for name, model in distiller.models.items()}
        teacher = weights(distiller.teacher)
        figures = distiller.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
        changed = [name for name, model in distiller.models.items() if not same(before[name], model.network)]
        assert changed == [trained] and same(teacher, distiller.teacher)


def test_the_same_batch_trains_the_same_bits() -> None:
    one, other = build(), build()
    for distiller in (one, other):
        for iteration in range(2):
            distiller.training_step(make_batch(iteration))
    assert same(weights(one.generator.network), other.generator.network)


@pytest.mark.parametrize("steps", [1, 4])
def test_its_cost_is_what_is_counted(steps: int) -> None:
    distiller = build(iterations=7, student_steps=steps)
    assert_announced(distiller, train(distiller, make_batch).passes)


@pytest.mark.parametrize(("steps", "start"), [(1, 1.0), (4, 1.0), (3, 0.5), (1000, 1.0)])
def test_earlier_times_are_between_the_steps_of_the_sampler(steps: int, start: float) -> None:
    distiller = build(student_steps=steps, student_start=start)
    ends = torch.cat([distiller.step_times, distiller.schedule.grid[:1].float()])
    step = torch.arange(512) % steps
    s = distiller.draw_earlier(ends[step], make_batch(size=512))
    assert ((ends[step + 1] <= s) & ((s < ends[step]) | (ends[step + 1] == ends[step]))).all()


def test_the_sampler_of_one_step_is_the_usual_one_and_that_of_four_ends_with_the_students_image() -> None:
    condition = torch.arange(5) % 3
    for steps in (1, 4):
        distiller = build(student_steps=steps)
        student = distiller.generator.network.eval()
        sampler = METHOD.load().sampler(distiller.recipe, student)
        with torch.no_grad():
            made = sampler(SampleNoise(range(5), SHAPE), condition)
            usual = few_step(student, SampleNoise(range(5), SHAPE), condition, distiller.indices)
        assert torch.allclose(made, usual, atol=1e-5) == (steps == 1)
        assert sampler.evaluations == steps and sampler.description["kind"] == "posterior"
