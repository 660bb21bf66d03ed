"""Diff-Instruct: its gradient is that of the integral KL divergence, and who may change whom."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from class_conditional_vp import VPDenoiser
from gaussian_data import each_schedule
from tiny_task_context import BATCH, SHAPE, make_batch, make_context, make_teacher, normal, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.schedules import NoiseSchedule, VPSchedule
from bench.runs.registry import load_catalogue
from bench.training.step_rng import StepRNG
from methods.diff_instruct import DiffInstruct, DiffInstructRecipe, integral_kl_gradient
from methods.noise_levels import lognormal_times

METHOD = load_catalogue().methods.get("diff-instruct")
SMALL: dict[str, Any] = {"batch_size": BATCH, "lr": 1e-4, "critic_lr": 2e-4}


def make(teacher: Any = None, null: Tensor | None = None, **values: Any) -> DiffInstruct:
    recipe = METHOD.recipe("tiny", "paper", {**SMALL, **values})
    assert isinstance(recipe, DiffInstructRecipe)
    return DiffInstruct(recipe, make_context(teacher, null))


@each_schedule
def test_the_expected_gradient_is_that_of_the_integral_kl_between_gaussians(schedule: NoiseSchedule) -> None:
    """The generator makes x = m + s z, the data are N(n, r^2), and the denoisers are exact.

    At a time with x_t = alpha x + sigma eps the divergence of the marginals N(alpha m, S) and N(alpha n, R) is
    log(R / S) / 2 + (S + alpha^2 (m - n)^2) / 2R - 1/2, S = alpha^2 s^2 + sigma^2 and R = alpha^2 r^2 + sigma^2.
    Autograd differentiates the sum over times, weighted with (sigma / alpha)^2; quadrature makes the expectation
    of the method's gradient exact.
    """
    m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.4))
    n, r = -0.2, 0.7
    nodes, weight = np.polynomial.hermite_e.hermegauss(8)
    z, eps = (torch.from_numpy(grid).flatten() for grid in np.meshgrid(nodes, nodes))
    probability = torch.from_numpy(np.outer(weight, weight)).flatten() / (2 * torch.pi)
    divergence, surrogate = torch.zeros(()), torch.zeros(())
    for t in schedule.grid[100:900:100]:
        alpha, sigma = (float(f(t[None])) for f in (schedule.alpha, schedule.sigma))
        own, theirs = alpha**2 * s**2 + sigma**2, alpha**2 * r**2 + sigma**2
        kl = (theirs / own).log() / 2 + (own + alpha**2 * (m - n) ** 2) / (2 * theirs) - 0.5
        divergence = divergence + (sigma / alpha) ** 2 * kl

        x = m + s * z
        x_t = (alpha * x + sigma * eps).detach()
        real = n + alpha * r**2 / theirs * (x_t - alpha * n)
        fake = (m + alpha * s**2 / own * (x_t - alpha * m)).detach()
        surrogate = surrogate + (probability * integral_kl_gradient(real, fake) * x).sum()
    expected = torch.autograd.grad(divergence, [m, s])
    torch.testing.assert_close(torch.autograd.grad(surrogate, [m, s]), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["edm", "vp"])
def test_the_generators_gradient_is_the_difference_of_critic_and_teacher(kind: str) -> None:
    """It has no divisor and no gradient of its own: the student's is that of mean((f - r) x), f and r constant."""
    teacher = make_teacher() if kind == "edm" else VPDenoiser(make_teacher().network, VPSchedule())
    method = make(teacher, clip_norm=1e9)
    with torch.no_grad():
        for seed, parameter in enumerate(method.critic.network.parameters()):
            parameter += 0.05 * normal(seed, *parameter.shape)
    student, critic = copy.deepcopy(method.generator.network), copy.deepcopy(method.critic.network)
    batch = make_batch(2)
    figures = method.training_step(batch)

    rng, schedule = StepRNG(seed=0, iteration=2), teacher.schedule
    t = method.step_time(0, BATCH)
    made = student(schedule.prior(rng.normal(batch.real), t), t, batch.condition)
    level = (-1.2 + 1.2 * rng.normal(torch.empty(BATCH))).exp()
    times = schedule.time_at(level).float()
    noised = schedule.add_noise(made.detach(), rng.normal(made), times), times, batch.condition
    with torch.no_grad():
        difference = critic(*noised) - method.teacher(*noised)
    gradients = torch.autograd.grad((difference * made).mean(), list(student.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    torch.testing.assert_close(method.generator.gradient_norm, norm, rtol=1e-4, atol=0)
    torch.testing.assert_close(figures["loss/ikl"], difference.square().mean() / 2)


def test_the_critic_learns_generated_images_with_edms_weights() -> None:
    method = make()
    network, batch = copy.deepcopy(method.critic.network), make_batch(3)
    made = normal(4, BATCH, *SHAPE)
    figures = method.update_critic(made, batch.condition, batch)

    rng = StepRNG(seed=0, iteration=3)
    sigma = (-1.2 + 1.2 * rng.normal(torch.empty(BATCH))).exp()
    x_t = made + sigma[:, None, None, None] * rng.normal(made)
    each = ((network(x_t, sigma, batch.condition) - made) ** 2).mean((1, 2, 3))
    expected = ((1 / sigma**2 + 1 / 0.5**2) * each).mean()
    torch.testing.assert_close(figures["loss/denoising"], expected.detach())


@each_schedule
def test_noise_levels_are_lognormal_on_every_schedule(schedule: NoiseSchedule) -> None:
    """A share of the batch is that part of the whole batch's draw."""
    batch = make_batch()
    t = lognormal_times(schedule, batch, 4000, -1.2, 1.2).double()
    logarithm = (schedule.sigma(t) / schedule.alpha(t)).log()
    assert logarithm.mean().item() == pytest.approx(-1.2, abs=0.06)
    assert logarithm.std().item() == pytest.approx(1.2, abs=0.06)
    batch.rng.generator.manual_seed(1)
    whole = lognormal_times(schedule, batch, 6, -1.2, 1.2)
    batch.rng.generator.manual_seed(1)
    batch.rng.share, batch.rng.shares = 1, 3
    assert torch.equal(lognormal_times(schedule, batch, 2, -1.2, 1.2), whole[2:4])


@pytest.mark.parametrize("values", [{}, {"student_steps": 4}])
def test_an_iteration_trains_both_networks_once_and_nothing_else(values: dict[str, Any]) -> None:
    method = make(**values)
    networks = {"teacher": method.teacher, **{name: model.network for name, model in method.models.items()}}
    before = {name: weights(network) for name, network in networks.items()}
    for iteration in range(3):
        method.training_step(make_batch(iteration))
    assert [name for name, network in networks.items() if same(before[name], network)] == ["teacher"]
    assert method.generator.updates == method.critic.updates == 3


def test_the_script_starts_at_noise_level_1() -> None:
    assert make().step_times.item() == pytest.approx(1, abs=0.01)
    assert METHOD.recipe("", "paper", {}).ema_decay == pytest.approx(0.5 ** (128 / 5e5), abs=1e-5)


def test_guidance_requires_a_null_condition() -> None:
    with pytest.raises(UserError, match=r"guidance_scale is 3.0, but .* fix: --set guidance_scale=1"):
        make(guidance_scale=3.0)
