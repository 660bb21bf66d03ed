"""f-distill's weights: h(r) = r^2 f''(r) of each divergence, whose gradient they make of the reverse KL's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from methods.divergences import WEIGHTS, density_ratio, divergence_weights
from methods.terms import Divergence

# D_f(p || q) = E_q[f(p / q)], and the constant that h has more than its usual form.
GENERATORS: dict[Divergence, tuple[Callable[[Tensor], Tensor], float]] = {
    "rkl": (lambda r: -r.log(), 1),
    "kl": (lambda r: r * r.log(), 1),
    "js": (lambda r: r * r.log() - (1 + r) * ((1 + r) / 2).log(), 1),
    "sf": (lambda r: (1 + r) * ((1 + r) / r).log(), 1),
    "neyman": (lambda r: (1 - r) ** 2 / r, 2),
    "sh": (lambda r: (1 - r.sqrt()) ** 2, 0.5),
    "jf": (lambda r: (r - 1) * r.log(), 1),
}


def ratios() -> Tensor:
    return torch.linspace(-2, 3, 50, dtype=torch.float64).exp()


@pytest.mark.parametrize("divergence", WEIGHTS)
def test_a_weight_is_the_second_derivative_of_its_divergence(divergence: Divergence) -> None:
    f, constant = GENERATORS[divergence]
    r = ratios().requires_grad_()
    (slope,) = torch.autograd.grad(f(r).sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    r = r.detach()
    torch.testing.assert_close(r**2 * curvature, constant * WEIGHTS[divergence](r), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("divergence", WEIGHTS)
def test_weighted_score_differences_are_the_gradient_of_the_divergence(divergence: Divergence) -> None:
    """Of N(m, 1) from the real N(0, 1.2^2) in m: finite differences of the integral against E_q[h (s_q - s_p)]."""
    f, constant = GENERATORS[divergence]
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)

    def density(mean: float, s: float) -> Tensor:
        return (-((x - mean) ** 2) / (2 * s**2)).exp() / (s * math.sqrt(2 * math.pi))

    def value(mean: float) -> float:
        real, fake = density(0, 1.2), density(mean, 1)
        return float(torch.trapezoid(fake * f(real / fake), x))

    mean, step = 0.7, 1e-4
    slope = (value(mean + step) - value(mean - step)) / (2 * step)
    real, fake = density(0, 1.2), density(mean, 1)
    scores = -(x - mean) - -x / 1.2**2
    weighted = torch.trapezoid(fake * constant * WEIGHTS[divergence](real / fake) * scores, x)
    assert float(weighted) == pytest.approx(slope, rel=1e-6)


def test_the_best_discriminator_s_logit_is_the_log_of_the_ratio_averaged_over_heads_and_bounded() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-90.0, -90.0], [90.0, 90.0]])
    torch.testing.assert_close(density_ratio(logits), torch.tensor([1.0, math.exp(0.75), 0.1, 20.0]))


@pytest.mark.parametrize("divergence", WEIGHTS)
def test_weights_have_the_mean_one_and_no_gradient(divergence: Divergence) -> None:
    logits = torch.tensor([[-2.0], [0.3], [1.0], [2.5]], requires_grad=True)
    weights = divergence_weights(logits, divergence)
    assert not weights.requires_grad
    assert weights.mean().item() == pytest.approx(1)
    expected = WEIGHTS[divergence](logits.detach().flatten().exp())
    torch.testing.assert_close(weights / weights[0], expected / expected[0])


def test_reverse_kl_is_dmd_itself() -> None:
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(divergence_weights(logits, "rkl"), torch.ones(5))
    more, less = divergence_weights(torch.tensor([[2.0], [-2.0]]), "kl")
    assert more > less, "forward KL cares more for images that real data has and the student lacks"
