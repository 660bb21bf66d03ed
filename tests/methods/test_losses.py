"""Every loss has the gradient of its equation in float64, and nothing else gets a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.losses import (
    denoising_loss,
    discriminator_gan_loss,
    distribution_matching_gradient,
    distribution_matching_loss,
    generator_gan_loss,
    r1_loss,
    regression_loss,
)

SHAPE = (5, 3, 4, 4)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss, x)[0]


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.fixture
def x() -> Tensor:
    return normal(0, *SHAPE).requires_grad_()


class TestDistributionMatching:
    def test_gradient_is_the_normalised_difference_of_the_denoised_images(self, x: Tensor) -> None:
        real, fake = normal(1, *SHAPE), normal(2, *SHAPE)
        expected = torch.empty(SHAPE, dtype=torch.float64)
        for i in range(len(x)):  # each sample has its own normaliser
            expected[i] = (fake[i] - real[i]) / (x[i] - real[i]).abs().mean()
        loss = distribution_matching_loss(x, real, fake)
        assert_equal(gradient(loss, x), expected.detach() / x.numel())
        assert_equal(distribution_matching_gradient(x, real, fake), expected.detach())

    def test_loss_is_half_the_mean_square_of_that_gradient(self, x: Tensor) -> None:
        real, fake = normal(1, *SHAPE), normal(2, *SHAPE)
        direction = distribution_matching_gradient(x, real, fake)
        assert_equal(distribution_matching_loss(x, real, fake), (direction**2).mean() / 2)

    def test_a_sample_that_both_networks_return_unchanged_gets_no_gradient(self, x: Tensor) -> None:
        """0 / 0 in one sample does not change the gradients of the others."""
        real, fake = normal(1, *SHAPE), normal(2, *SHAPE)
        real[0] = fake[0] = x[0].detach()
        found = gradient(distribution_matching_loss(x, real, fake), x)
        assert torch.equal(found[0], torch.zeros_like(found[0]))
        assert found[1:].isfinite().all() and found[1:].abs().min() > 0

    def test_no_gradient_where_teacher_and_critic_agree(self, x: Tensor) -> None:
        agreed = normal(1, *SHAPE)
        assert gradient(distribution_matching_loss(x, agreed, agreed.clone()), x).abs().max() == 0

    def test_nothing_flows_into_teacher_or_critic(self, x: Tensor) -> None:
        real, fake = normal(1, *SHAPE).requires_grad_(), normal(2, *SHAPE).requires_grad_()
        loss = distribution_matching_loss(x, real, fake)
        assert torch.autograd.grad(loss, [real, fake], allow_unused=True) == (None, None)

    @pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 80.0])
    def test_descent_goes_from_the_fake_to_the_real_mean(self, sigma: float) -> None:
        """Two Gaussians in the plane that differ in their mean: the direction is exact at every noise level.

        N(m, s^2) has the denoiser D(x_t) = (s^2 x_t + sigma^2 m) / (s^2 + sigma^2), so that
        F - R = sigma^2 / (s^2 + sigma^2) (m_fake - m_real), whatever x_t.
        """
        s = 0.7
        mean_real, mean_fake = (torch.tensor(m, dtype=torch.float64) for m in ([2.0, -1.0], [-0.5, 0.3]))
        x = (mean_fake + s * normal(3, 100, 2)).reshape(100, 2, 1, 1).requires_grad_()
        x_t = (x + sigma * normal(4, 100, 2, 1, 1)).detach()
        real, fake = (exact_denoiser(x_t, sigma, m.reshape(1, 2, 1, 1), s) for m in (mean_real, mean_fake))

        found = gradient(distribution_matching_loss(x, real, fake), x).reshape(100, 2)

        size = sigma**2 / (s**2 + sigma**2) / (x.detach() - real).abs().reshape(100, 2).mean(1)
        assert_equal(found, size[:, None] * (mean_fake - mean_real) / found.numel())

    def test_images_that_follow_it_become_the_real_gaussian(self) -> None:
        """Images of 64 independent pixels, exact denoisers, the critic's fitted to the images at each step."""
        images = -1.0 + 0.2 * normal(5, 32, 64)
        for step in range(300):
            sigma = [0.1, 0.3, 1.0][step % 3]
            x = images.clone().requires_grad_()
            x_t = images + sigma * normal(100 + step, 32, 64)
            real = exact_denoiser(x_t, sigma, torch.tensor(2.0), 0.5)
            fake = exact_denoiser(x_t, sigma, images.mean(), images.std().item())
            images = images - 0.1 * x.numel() * gradient(distribution_matching_loss(x, real, fake), x)
        assert images.mean().item() == pytest.approx(2.0, abs=0.05)
        assert images.std().item() == pytest.approx(0.5, abs=0.05)


def exact_denoiser(x_t: Tensor, sigma: float, mean: Tensor, s: float) -> Tensor:
    """E[x | x + sigma eps = x_t] for x ~ N(mean, s^2)."""
    return (s**2 * x_t + sigma**2 * mean) / (s**2 + sigma**2)


def test_denoising_loss_has_each_samples_weight() -> None:
    x0, x, weight = normal(0, *SHAPE).requires_grad_(), normal(1, *SHAPE), normal(2, SHAPE[0]).exp()
    loss = denoising_loss(x0, x, weight)
    expected = 2 * weight[:, None, None, None] * (x0 - x) / x0.numel()
    assert_equal(gradient(loss, x0), expected.detach())
    by_sample = ((x0 - x) ** 2).flatten(1).mean(1)
    assert_equal(loss, (weight * by_sample).mean())


def test_generator_gan_loss() -> None:
    """softplus(-l) has the slope -sigmoid(-l); it is -log sigmoid(l), and it does not overflow."""
    logits = torch.tensor([-800.0, -3.0, 0.0, 2.5, 800.0], dtype=torch.float64, requires_grad=True)
    loss = generator_gan_loss(logits)
    assert_equal(gradient(loss, logits), -torch.sigmoid(-logits.detach()) / 5)
    assert_equal(loss.detach(), (-torch.nn.functional.logsigmoid(logits.detach())).mean())


def test_discriminator_gan_loss() -> None:
    real, fake = normal(0, 7).requires_grad_(), normal(1, 5).requires_grad_()
    loss = discriminator_gan_loss(real, fake)
    for_real, for_fake = torch.autograd.grad(loss, [real, fake])
    assert_equal(for_real, -torch.sigmoid(-real.detach()) / 7)
    assert_equal(for_fake, torch.sigmoid(fake.detach()) / 5)


def test_an_undecided_discriminator_has_the_loss_two_log_two() -> None:
    zero = torch.zeros(4, dtype=torch.float64)
    assert_equal(discriminator_gan_loss(zero, zero), 2 * torch.tensor(2.0, dtype=torch.float64).log())


def test_r1_loss() -> None:
    one, other = normal(0, 7, 2).requires_grad_(), normal(1, 7, 2).requires_grad_()
    loss = r1_loss(one, other)
    expected = 2 * (one - other).detach() / 14
    for_one, for_other = torch.autograd.grad(loss, [one, other])
    assert_equal(for_one, expected)
    assert_equal(for_other, -expected)


def test_r1_loss_is_the_squared_slope_of_the_discriminator() -> None:
    """For D(x) = w . x and noise s n it is the mean of s^2 (w . n)^2, in expectation s^2 |w|^2: R1 itself."""
    w, x, n, s = normal(0, 8), normal(1, 200_000, 8), normal(2, 200_000, 8), 0.1
    assert r1_loss(x @ w, (x + s * n) @ w).item() == pytest.approx(s**2 * (w @ w).item(), rel=0.02)


def test_regression_loss(x: Tensor) -> None:
    y = normal(1, *SHAPE)
    assert_equal(gradient(regression_loss(x, y), x), 2 * (x.detach() - y) / x.numel())
