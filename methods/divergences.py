"""Weights that make distribution matching decrease an f-divergence other than the reverse KL (f-distill)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from methods.terms import Divergence

LEAST_RATIO, LARGEST_RATIO = 0.1, 20.0
"""Bounds of the density ratio (FastGen)."""

WEIGHTS: Mapping[Divergence, Callable[[Tensor], Tensor]] = {
    "rkl": torch.ones_like,
    "kl": lambda r: r,
    "js": lambda r: 1 - 1 / (1 + r),
    "sf": lambda r: 1 / (1 + r),
    "neyman": lambda r: 1 / r,
    "sh": torch.sqrt,
    "jf": lambda r: 1 + r,
}
"""The weight h(r) of a sample, where r = p_real / p_fake is the density ratio at its noised image."""


def density_ratio(logits: Tensor) -> Tensor:
    """Return p_real / p_fake [B] as a discriminator with logits [B, heads] sees it: e^D, within bounds.

    The best discriminator of Eq. 4 has the logit log p_real - log p_fake. Several heads are averaged.
    """
    return logits.float().mean(1).exp().clamp(LEAST_RATIO, LARGEST_RATIO)


@torch.no_grad()
def divergence_weights(
    logits: Tensor, divergence: Divergence, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """Return the weights [B] of the samples' gradients, h(r) divided by its mean over the batch.

    `mean` averages over all processes' samples, so that each has the same scale; with micro-batches it is that of
    each. FastGen also divides r by its mean over samples of similar times, which takes more of them than a small
    batch has.
    """
    weights = WEIGHTS[divergence](density_ratio(logits))
    return weights / mean(weights)
