"""Consistency models on EDM's network: their scalings, and their noise levels (Song et al., arXiv:2303.01469)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule, per_sample

OPENAI_NOISE_SCALE = 250.0
"""OpenAI's networks take 1000 ln(sigma) / 4 as their time, EDM's take ln(sigma) / 4."""
SIGMA_MIN = 0.002
"""The noise level at which a consistency model is the identity."""


class ConsistencySchedule(EDMSchedule):
    """The Karras grid that a consistency model was trained on, and the rule by which it adds noise to an estimate.

    With it `bench.models.samplers.few_step` is multistep consistency sampling (arXiv:2303.01469, Algorithm 1):
    each estimate is clamped to [-1, 1], and the noise added to it has the variance sigma^2 - sigma_min^2, since
    the model's images are those at sigma_min.
    """

    def __init__(self, levels: int = 40) -> None:
        """`levels` is the number of noise levels in training: 40 for distillation, 201 for CT."""
        super().__init__(sigma_min=SIGMA_MIN, steps=levels)

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        added = (t**2 - SIGMA_MIN**2).clamp(min=0).sqrt()
        return x.clamp(-1, 1) + per_sample(added, x) * eps


TWO_STEPS = {40: 17, 201: 94}
"""Grid position of the second of two steps, by the number of levels: sigma 1.382 for CD (l2 and LPIPS), 1.913
for CT. They were found by a search on FID (openai/consistency_models, scripts/launch.sh: 22 from the top of
40, 106 of 201)."""


def published_steps(schedule: ConsistencySchedule) -> dict[int, list[int]]:
    """Return the grid positions of the published samplers, by their number of steps."""
    levels = len(schedule.grid)
    found = {1: [levels - 1]}
    if levels in TWO_STEPS:
        found[2] = [levels - 1, TWO_STEPS[levels]]
    return found


class ConsistencyDenoiser(EDMDenoiser):
    """EDM's network under OpenAI's conventions: another scale of the noise input, and a boundary condition.

    c_skip = sd^2 / ((s - s_min)^2 + sd^2), c_out = (s - s_min) sd / sqrt(s^2 + sd^2), so that D(x, s_min) = x
    exactly (arXiv:2303.01469, Appendix C). With `sigma_min` 0 these are EDM's own scalings: OpenAI's EDM
    teacher. Source: edm-diffusers, section 7.
    """

    def __init__(
        self,
        network: Any,
        schedule: EDMSchedule,
        taps: Sequence[str] = ("encoder",),
        noise_scale: float = OPENAI_NOISE_SCALE,
        sigma_min: float = SIGMA_MIN,
    ) -> None:
        super().__init__(network, schedule, taps=taps)
        self.noise_scale = noise_scale
        self.sigma_min = sigma_min

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = super()._inputs(x_t, t)
        return x, self.noise_scale * t.to(torch.float32).log()

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, interval: Tensor | None = None) -> Tensor:
        x, timestep = self._inputs(x_t, t)
        sigma, sigma_data = t.to(torch.float32), self.schedule.sigma_data
        above = sigma - self.sigma_min
        c_skip = sigma_data**2 / (above**2 + sigma_data**2)
        c_out = above * sigma_data * (sigma**2 + sigma_data**2).rsqrt()
        with self._over(t, interval):
            output = self._network(x, timestep, condition)
        return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * output
