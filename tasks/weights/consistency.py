"""Consistency models on EDM's network: their scalings, and their sampler (Song et al., arXiv:2303.01469)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from diffusers import UNet2DModel
from torch import Tensor

from tasks.denoiser import EDMDenoiser
from tasks.errors import UserError
from tasks.samplers import SampleNoise
from tasks.schedules import EDMSchedule, per_sample

OPENAI_NOISE_SCALE = 250.0
"""OpenAI's networks see 1000 ln(sigma) / 4 where EDM's see ln(sigma) / 4."""
SIGMA_MIN = 0.002
"""Where a consistency model is the identity."""


class ConsistencyDenoiser(EDMDenoiser):
    """EDM's network under OpenAI's conventions: another scale of the noise input, and a boundary condition.

    c_skip = sd^2 / ((s - s_min)^2 + sd^2), c_out = (s - s_min) sd / sqrt(s^2 + sd^2), so that D(x, s_min) = x
    exactly (arXiv:2303.01469, Appendix C). With `sigma_min` 0 these are EDM's own scalings: OpenAI's EDM
    teacher. Source: edm-diffusers, section 7.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        schedule: EDMSchedule,
        bottleneck: Literal["encoder", "mid"] = "encoder",
        noise_scale: float = OPENAI_NOISE_SCALE,
        sigma_min: float = SIGMA_MIN,
    ) -> None:
        super().__init__(unet, schedule, bottleneck=bottleneck)
        self.noise_scale = noise_scale
        self.sigma_min = sigma_min

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = super()._inputs(x_t, t)
        return x, self.noise_scale * t.to(torch.float32).log()

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x, timestep = self._inputs(x_t, t)
        sigma, sigma_data = t.to(torch.float32), self.schedule.sigma_data
        above = sigma - self.sigma_min
        c_skip = sigma_data**2 / (above**2 + sigma_data**2)
        c_out = above * sigma_data * (sigma**2 + sigma_data**2).rsqrt()
        return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * self._network(x, timestep, condition)


def consistency_sample(
    denoiser: ConsistencyDenoiser, noise: SampleNoise, condition: Tensor, sigmas: Sequence[float] = (80.0,)
) -> Tensor:
    """Sample a consistency model in as many steps as there are `sigmas` (arXiv:2303.01469, Algorithm 1).

    Each estimate is clamped to [-1, 1]; the noise added to it has the variance sigma^2 - sigma_min^2, since
    the model's images are those at sigma_min. Returns x0 [B, C, H, W]. Raises UserError unless `sigmas`
    descend and stay above sigma_min.
    """
    levels = [*sigmas, denoiser.sigma_min]
    if len(levels) < 2 or any(after >= before for before, after in itertools.pairwise(levels)):
        raise UserError(f"noise levels must descend and stay above {denoiser.sigma_min}, not {list(sigmas)}")
    eps = noise.draw()
    x_t = sigmas[0] * eps
    for sigma, following in itertools.pairwise(levels):
        x0 = denoiser(x_t, torch.full((len(eps),), sigma, device=eps.device), condition).clamp(-1, 1)
        if following > denoiser.sigma_min:
            x_t = x0 + (following**2 - denoiser.sigma_min**2) ** 0.5 * noise.draw()
    return x0
