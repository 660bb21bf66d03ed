"""The losses of the methods as pure functions of tensors. Each one cites its equation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.schedules import per_sample
from methods.terms import Divisor

LEAST_DISTANCE = 0.1
"""The least distance that a clamped divisor has (CDM)."""


def distribution_matching_gradient(
    x: Tensor, x0_real: Tensor, x0_fake: Tensor, divisor: Divisor = "teacher"
) -> Tensor:
    """Return the gradient of distribution matching at the generated image (DMD2, Eq. 2; DMD, Eq. 7 and 8).

    It is (mu_fake - mu_real) / mean |x - mu_real|, with the mean over each sample's elements; all [B, C, H, W].
    The difference of the scores is that of the denoised images times alpha_t / sigma_t^2; the weight of DMD's Eq.
    8 leaves alpha_t of it, which is 1 in EDM, and which DMD2's code drops for all schedules. 0 / 0 (the teacher
    returns the image itself) counts as 0. Other divisors of public code: at least LEAST_DISTANCE ("clamped"), or
    mean |mu_fake - mu_real| ("own").
    """
    direction = x0_fake - x0_real
    scale = (direction if divisor == "own" else x - x0_real).abs().flatten(1).mean(1)
    if divisor == "clamped":
        scale = scale.clamp(min=LEAST_DISTANCE)
    return (direction / per_sample(scale, x)).nan_to_num()


def distribution_matching_loss(
    x: Tensor, x0_real: Tensor, x0_fake: Tensor, weight: Tensor | None = None, divisor: Divisor = "teacher"
) -> Tensor:
    """Return a surrogate loss whose gradient in x is `distribution_matching_gradient` / numel (DMD2, Eq. 2).

    `weight` [B] multiplies each sample's gradient (f-distill).
    """
    with torch.no_grad():
        gradient = distribution_matching_gradient(x, x0_real, x0_fake, divisor)
        target = x - (gradient if weight is None else per_sample(weight, x) * gradient)
    return 0.5 * F.mse_loss(x, target)


def trajectory_matching_loss(x0: Tensor, real: Tensor, fake: Tensor, huber_c: float) -> Tensor:
    """Return TDM's surrogate loss, whose gradient in x0 is g / w / numel, with w = mean |x0 - real| of a sample.

    The direction d = fake - real is g for huber_c 0 (DMD2, Eq. 2), else g = d / sqrt(d^2 + c^2). All [B, C, H, W].
    """
    if huber_c == 0:
        return distribution_matching_loss(x0, real, fake)
    target = (x0 + real - fake).detach()
    distance = ((x0 - target) ** 2 + huber_c**2).sqrt() - huber_c
    weight = (x0.detach() - real).abs().flatten(1).mean(1)
    return (distance / per_sample(weight.clamp(min=1e-8), x0)).mean()


def augmentation_loss(
    x: Tensor, conditional: Tensor, unconditional: Tensor, factor: float, divisor: Divisor = "teacher"
) -> Tensor:
    """Return the loss of classifier-free guidance as a direction of its own (decoupled DMD's CFG augmentation).

    Descent moves x along factor (r_c - r_u), from the teacher's image without the condition to that with it. It is
    distribution matching with the unconditional teacher in the critic's place: at equal times both together have
    the direction of DMD with a teacher of guidance scale 1 + factor.
    """
    return distribution_matching_loss(x, conditional, unconditional, x.new_full((len(x),), factor), divisor)


def denoising_loss(x0: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return the critic's denoising score matching loss, weight [B] (DMD2, Sec. 3; DMD, Eq. 6).

    With the schedule's `denoising_weight` it is the loss that the backbone was trained with: EDM's lambda, or an
    epsilon loss.
    """
    return (per_sample(weight, x) * (x0 - x) ** 2).mean()


def generator_gan_loss(fake_logits: Tensor) -> Tensor:
    """Return the generator's non-saturating loss, softplus(-D(fake)) = -log sigmoid(D(fake)) (DMD2, Eq. 4)."""
    return F.softplus(-fake_logits).mean()


def discriminator_gan_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the discriminator's loss, softplus(-D(real)) + softplus(D(fake)) (DMD2, Eq. 4)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_loss(real_logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """Return the R1 penalty without second derivatives, mean (D(x) - D(x + s n))^2 over real inputs x (APT).

    For small noise s n it is s^2 |dD/dx|^2, whose factor s^2 is in the loss. Gradients flow into both logits.
    """
    return F.mse_loss(real_logits, perturbed_logits)


def regression_loss(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared error between G(z) and the teacher's image y of the same z (DMD2, Eq. 3).

    This is the default. DMD's distance on ImageNet is LPIPS (methods.perceptual), whose weights users download.
    """
    return F.mse_loss(x, y)


def huber_loss(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Return the mean pseudo-Huber distance, sqrt((x - y)^2 + c^2) - c of each element, as in LCM's code."""
    return (((x - y) ** 2 + c**2).sqrt() - c).mean()
