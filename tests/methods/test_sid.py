"""SiD and SiDA: losses against closed forms, the gradient through both networks, and who may change whom."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from tiny_double import DoubleDenoiser, central_differences
from tiny_task_context import BATCH, SHAPE, make_batch, make_context, normal, same, weights
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser
from bench.models.schedules import EDMSchedule
from bench.runs.registry import load_catalogue
from bench.training.distiller import Noised, frozen
from bench.training.step_rng import StepRNG
from methods.noise_levels import lognormal_times
from methods.sid import (
    SiD,
    SiDRecipe,
    adversarial_loss,
    channel_mean,
    discriminator_loss,
    distance,
    score_identity_loss,
)

CATALOGUE = load_catalogue()
SMALL: dict[str, Any] = {"batch_size": BATCH, "lr": 1e-4, "critic_lr": 2e-4, "sid_weight": 1.0, "clip_norm": 10.0}


def make(name: str = "sid", teacher: Denoiser | None = None, null: Tensor | None = None, **values: Any) -> SiD:
    recipe = CATALOGUE.methods.get(name).recipe("tiny", "paper", {**SMALL, **values})
    assert isinstance(recipe, SiDRecipe)
    return SiD(recipe, make_context(teacher, null))


def double(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape).double()


def exact_denoiser(x_t: Tensor, sigma: float, mean: float | Tensor, s: float) -> Tensor:
    """E[x | x + sigma eps = x_t] for x ~ N(mean, s^2)."""
    return (s**2 * x_t + sigma**2 * mean) / (s**2 + sigma**2)


class TestScoreIdentityLoss:
    def test_it_is_the_formula_sample_by_sample(self) -> None:
        x, r, f = (double(seed, 5, *SHAPE) for seed in range(3))
        each = [
            ((b - c) * ((b - a) - 1.2 * (b - c)) / (a - b).abs().mean()).mean()
            for a, b, c in zip(x, r, f, strict=True)
        ]
        torch.testing.assert_close(score_identity_loss(x, r, f, 1.2), torch.stack(each).mean(), rtol=1e-12, atol=0)

    def test_alpha_subtracts_the_squared_difference_and_1_leaves_the_critics_residual(self) -> None:
        """L(alpha) = (r - f)(r - x) - alpha (r - f)^2, and L(1) = (r - f)(f - x), each over the divisor."""
        x, r, f = (double(seed, 5, *SHAPE) for seed in range(3))
        norm = distance(x, r)[:, None, None, None]
        at = {alpha: score_identity_loss(x, r, f, alpha) for alpha in (0.0, 1.0, 1.2)}
        torch.testing.assert_close(at[1.0], ((r - f) * (f - x) / norm).mean(), rtol=1e-12, atol=1e-14)
        slope = -((r - f) ** 2 / norm).mean()
        torch.testing.assert_close(at[1.2], at[0.0] + 1.2 * slope, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
    @pytest.mark.parametrize("sigma", [0.1, 0.5, 2.5])
    def test_its_expectation_is_the_fisher_divergence_times_1_minus_alpha(
        self, alpha: float, sigma: float
    ) -> None:
        """The identities that name the method, on Gaussians: with the exact f, E (r - f)(f - x) = 0.

        Then E (r - f)((r - x) - alpha (r - f)) = (1 - alpha) E (r - f)^2. Quadrature makes the expectation exact;
        the divisor, which the paper's identities do not have, is taken out.
        """
        nodes, weight = np.polynomial.hermite_e.hermegauss(12)
        z, eps = (torch.from_numpy(grid).reshape(-1, 1, 1, 1) for grid in np.meshgrid(nodes, nodes))
        probability = torch.from_numpy(np.outer(weight, weight)).flatten() / (2 * torch.pi)
        x = 0.3 + 0.4 * z
        r, f = (exact_denoiser(x + sigma * eps, sigma, mean, s) for mean, s in ((-0.2, 0.7), (0.3, 0.4)))
        each = torch.stack(
            [score_identity_loss(*one, alpha) for one in zip(*(v[:, None] for v in (x, r, f)), strict=True)]
        )
        found = (probability * each * distance(x, r)).sum()
        divergence = (probability * (r - f).flatten() ** 2).sum()
        torch.testing.assert_close(found, (1 - alpha) * divergence, rtol=1e-9, atol=1e-12)

    def test_there_is_no_gradient_once_the_generator_makes_the_data(self) -> None:
        """Teacher and critic are then one function: value and gradient vanish for every sample."""
        x = double(0, 50, 1, 2, 2).requires_grad_()
        x_t = x + 0.5 * double(1, 50, 1, 2, 2)
        loss = score_identity_loss(x, *(exact_denoiser(x_t, 0.5, 0.1, 0.7) for _ in range(2)), 1.2)
        assert loss.item() == 0 and torch.autograd.grad(loss, x)[0].abs().max() == 0

    @pytest.mark.parametrize("sigma", [0.1, 1.0, 20.0])
    def test_between_gaussians_that_differ_in_their_mean_it_leads_to_the_real_one(self, sigma: float) -> None:
        """r - f = k (m - n) with k = sigma^2 / (s^2 + sigma^2), and d(r - x)/dx = -k: it is k^2 (n - m)."""
        s, m, n = 0.7, 2.0, -0.5
        x = (n + s * double(3, 100, 1, 1, 1)).requires_grad_()
        x_t = x + sigma * double(4, 100, 1, 1, 1)
        r, f = (exact_denoiser(x_t, sigma, mean, s) for mean in (m, n))
        found = torch.autograd.grad(score_identity_loss(x, r, f, 1.2), x)[0]
        k = sigma**2 / (s**2 + sigma**2)
        torch.testing.assert_close(found.flatten(), k**2 * (n - m) / distance(x, r) / 100, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("alpha", [1.0, 1.2])
    def test_images_that_follow_it_become_the_real_gaussian(self, alpha: float) -> None:
        """The critic is exact, fitted to the images at each step; the teacher is N(2, .5^2)."""
        images = -1.0 + 0.2 * double(5, 32, 1, 8, 8)
        for step in range(400):
            sigma = [0.3, 1.0][step % 2]
            x = images.clone().requires_grad_()
            x_t = x + sigma * double(100 + step, *images.shape)
            real = exact_denoiser(x_t, sigma, 2.0, 0.5)
            fake = exact_denoiser(x_t, sigma, images.mean(), images.std().item())
            images = (
                images - 0.2 * x.numel() * torch.autograd.grad(score_identity_loss(x, real, fake, alpha), x)[0]
            )
        assert images.mean().item() == pytest.approx(2.0, abs=0.05)
        assert images.std().item() == pytest.approx(0.5, abs=0.05)

    def test_a_sample_that_is_no_number_makes_the_loss_none_so_that_training_stops(self) -> None:
        """The official code drops such samples from the batch and trains on."""
        x, r, f = (double(seed, 5, *SHAPE) for seed in range(3))
        f[2, 0, 0, 0] = torch.nan
        assert score_identity_loss(x, r, f, 1.2).isnan()


def test_the_gradient_passes_through_teacher_and_critic() -> None:
    """In float64 it equals central differences of the formula, in which the divisor alone is constant."""
    method = make("sida", DoubleDenoiser(0), gan_generator_weight=0.3)
    with torch.no_grad():
        for parameter in method.critic.network.parameters():
            parameter.mul_(1.3)
    batch, x = make_batch(), double(7, BATCH, *SHAPE)

    def losses(made: Tensor) -> dict[str, Tensor]:
        batch.rng.generator.manual_seed(3)  # the same times and noise in every call
        with frozen(method.critic.network):
            return method.generator_losses(made, batch.condition, batch)

    batch.rng.generator.manual_seed(3)
    t, noise = method.times(batch, (0.0, 0.8), BATCH), batch.rng.normal(x)
    norm: Tensor | None = None

    def formula(made: Tensor) -> dict[str, Tensor]:
        nonlocal norm
        noised = made + t.double()[:, None, None, None] * noise, t, batch.condition
        critic = method.critic.network.denoiser
        r, f = method.teacher(*noised).detach(), critic(*noised).detach()
        norm = (made - r).abs().mean((1, 2, 3)) if norm is None else norm
        logits = critic.features(*noised)[0].detach().mean(1)
        sid = ((r - f) * ((r - made) - (r - f))).mean((1, 2, 3)) / norm
        gan = -0.3 * logits.sigmoid().log().mean((1, 2)) / norm
        return {"sid": sid.mean(), "gan": gan.mean()}

    for name, value in formula(x).items():
        image = x.clone().requires_grad_()
        loss = losses(image)[name]
        torch.testing.assert_close(loss.detach(), value, rtol=1e-9, atol=1e-12)
        found = torch.autograd.grad(loss, image)[0]
        expected = central_differences(lambda made, name=name: formula(made)[name], x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


class TestAdversarialLosses:
    def test_the_generators_is_each_samples_mean_over_its_divisor(self) -> None:
        x, r, logits = double(0, 5, *SHAPE), double(1, 5, *SHAPE), double(2, 5, 9).requires_grad_()
        loss = adversarial_loss(x, r, logits)
        expected = -torch.sigmoid(-logits) / 9 / (x - r).abs().mean((1, 2, 3))[:, None] / 5
        torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected.detach(), rtol=1e-12, atol=0)

    def test_logits_beyond_10_give_no_gradient(self) -> None:
        logits = torch.tensor([[-10.5], [-9.5], [10.5]], dtype=torch.float64, requires_grad=True)
        loss = adversarial_loss(double(0, 3, *SHAPE), double(1, 3, *SHAPE), logits)
        assert (torch.autograd.grad(loss, logits)[0].flatten() != 0).tolist() == [False, True, False]

    def test_the_critics_is_half_of_both_cross_entropies_with_each_samples_weight(self) -> None:
        real, fake, weight = double(0, 5, 9), double(1, 5, 9), double(2, 5).exp()
        each = -(real.sigmoid().log() + (-fake).sigmoid().log()) / 2
        found = discriminator_loss(real, fake, weight)
        torch.testing.assert_close(found, (weight[:, None] * each).mean(), rtol=1e-12, atol=0)

    def test_half_of_the_critics_weight_is_at_a_hundredth_of_its_levels(self) -> None:
        """ln sigma is N(m, s^2), and lambda sigma^-2 + 4: with the weight sigma^-2 it is N(m - 2 s^2, s^2)."""
        recipe, limit = SiDRecipe(), 0.017
        m, s = recipe.critic_level_mean, recipe.critic_level_std
        samples, squares = NormalDist(m, s).cdf(math.log(limit)), NormalDist(m - 2 * s**2, s).cdf(math.log(limit))
        total = math.exp(-2 * m + 2 * s**2)
        share = (total * squares + 4 * samples) / (total + 4)
        assert (samples, share) == (pytest.approx(0.01, abs=0.002), pytest.approx(0.5, abs=0.02))
        t = lognormal_times(EDMSchedule(), make_batch(), 1_000_000, m, s).double()
        weight = EDMSchedule().denoising_weight(t)
        assert float(weight[t < limit].sum() / weight.sum()) == pytest.approx(share, abs=0.05)

    def test_logits_are_means_over_channels_of_maps_and_of_tokens(self) -> None:
        features = double(0, 2, 6, 3, 3)
        tokens = features.flatten(2).transpose(1, 2)
        assert channel_mean(features).shape == (2, 9)
        torch.testing.assert_close(channel_mean(features), channel_mean(tokens))


@pytest.mark.parametrize(
    ("name", "values"), [("sid", {}), ("sida", {}), ("sida", {"discriminator_weight": "image"})]
)
def test_the_critic_learns_generated_images_with_the_noise_of_the_real_ones(
    name: str, values: dict[str, Any]
) -> None:
    """One step from a known state equals AdamW on the formula; SiDA's reals and fakes share times and noise.

    The official code multiplies each image's weight with the mean loss of the batch.
    """
    method = make(name, gan_critic_weight=0.5, **values)
    network = method.critic.network
    before, batch = weights(network), make_batch(3)
    made = normal(4, BATCH, *SHAPE)
    figures = method.update_critic(made, batch.condition, batch)

    rng = StepRNG(seed=0, iteration=3)
    sigma = (-1.2 + 1.2 * rng.normal(torch.empty(BATCH))).exp()
    noise = sigma[:, None, None, None] * rng.normal(made)
    network.load_state_dict(before)
    judged = network(
        Noised(made + noise, sigma, batch.condition), Noised(batch.real + noise, sigma, batch.real_condition)
    )
    weight = 1 / sigma**2 + 1 / 0.5**2
    denoising = (weight * ((judged.x0 - made) ** 2).mean((1, 2, 3))).mean()
    torch.testing.assert_close(figures["loss/denoising"], denoising.detach())
    if name == "sida":
        each = (F.softplus(-judged.real_logits) + F.softplus(judged.logits)).mean(1) / 2
        adversarial = (weight * (each if values else each.mean())).mean()
        torch.testing.assert_close(figures["loss/discriminator"], adversarial.detach())
        denoising = denoising + 0.5 * adversarial
    gradients = torch.autograd.grad(denoising, list(network.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    torch.testing.assert_close(method.critic.gradient_norm, norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("values", [{}, {"gan": True}, {"student_steps": 4}])
def test_an_iteration_trains_both_networks_once_and_nothing_else(values: dict[str, Any]) -> None:
    method = make(**values)
    networks = {"teacher": method.teacher, **{name: model.network for name, model in method.models.items()}}
    before = {name: weights(network) for name, network in networks.items()}
    for iteration in range(3):  # in the first, teacher and critic are one function if nothing else differs
        figures = method.training_step(make_batch(iteration))
    assert all(value.isfinite() for value in figures.values())
    assert [name for name, network in networks.items() if same(before[name], network)] == ["teacher"]
    assert method.generator.updates == method.critic.updates == 3
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.requires_grad for p in method.critic.network.parameters())


@pytest.mark.usefixtures("kept_gradients")
def test_the_generators_step_leaves_the_critics_gradients_alone() -> None:
    method = make("sida")
    method.update_critic(normal(4, BATCH, *SHAPE), make_batch().condition, make_batch())
    kept = [p.grad.clone() for p in method.critic.network.parameters()]
    start = method.simulate(make_batch())
    method.update_generator(method.generator(*start), start.condition, make_batch())
    assert all(torch.equal(a, p.grad) for a, p in zip(kept, method.critic.network.parameters(), strict=True))


def test_recipes_are_the_authors() -> None:
    """SiD starts at noise level 2.5 and draws levels up to Karras' 80 % (24.5)."""
    sid, sida = (CATALOGUE.methods.get(name).recipe("imagenet64", "paper", {}) for name in ("sid", "sida"))
    assert isinstance(sid, SiDRecipe) and isinstance(sida, SiDRecipe)
    assert (sid.alpha, sida.alpha, sid.gan, sida.gan) == (1.2, 1.0, False, True)
    assert sid.iterations * sid.batch_size == pytest.approx(939_176_000, rel=1e-4)
    assert sid.ema_decay == pytest.approx(0.5 ** (8192 / 2e6), abs=1e-5)
    assert make().step_times.item() == pytest.approx(2.5, abs=0.05)
    assert "gan_critic_weight" in sid.idle() and "gan_critic_weight" not in sida.idle()
    assert (sid.discriminator_weight, sida.discriminator_weight) == ("image", "batch")


def test_guidance_requires_a_null_condition() -> None:
    with pytest.raises(UserError, match=r"guidance_scale is 3.0, but .* fix: --set guidance_scale=1"):
        make(guidance_scale=3.0)
