"""Images whose pixels are N(MEAN, STD^2): their denoiser, the ODE's solution and the maps along it are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.models.denoiser import Denoiser, WrappedDenoiser
from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule, VPSchedule, per_sample

MEAN, STD = 0.3, 0.4

SCHEDULES = [EDMSchedule(), VPSchedule(), FlowSchedule(), FlowSchedule(shift=3.0)]
"""One schedule of each kind, and a grid of flow times that is shifted."""
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=["edm", "vp", "flow", "shifted"])


def denoised(x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return E[x0 | x_t], the optimal denoiser's output."""
    alpha, sigma = (per_sample(of(t), x_t) for of in (schedule.alpha, schedule.sigma))
    return (STD**2 * alpha * x_t + sigma**2 * MEAN) / (alpha**2 * STD**2 + sigma**2)


def moved(x_t: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the exact solution at times s [B] of the ODE that is at x_t at times t [B].

    In y = x / alpha at noise level l, y - MEAN keeps its ratio to the standard deviation (STD^2 + l^2)^(1/2).
    """
    alpha_t, sigma_t, alpha_s, sigma_s = (
        per_sample(of(time), x_t) for time in (t, s) for of in (schedule.alpha, schedule.sigma)
    )
    deviation_t = (alpha_t**2 * STD**2 + sigma_t**2).sqrt()
    deviation_s = (alpha_s**2 * STD**2 + sigma_s**2).sqrt()
    return alpha_s * MEAN + (x_t - alpha_t * MEAN) * deviation_s / deviation_t


class GaussianDenoiser(WrappedDenoiser):
    """The optimal denoiser in place of another one's output."""

    def __init__(self, denoiser: Denoiser, schedule: NoiseSchedule | None = None) -> None:
        super().__init__(denoiser)
        self.schedule = schedule or denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:  # noqa: ARG002
        return denoised(x_t, t, self.schedule)


def noised_images(schedule: NoiseSchedule, positions: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return noised images [B, 1, 4, 4] of the data, and their times [B] at positions of the grid, in float64."""
    generator = torch.Generator().manual_seed(seed)
    t = schedule.grid[positions]
    x, eps = torch.randn(2, len(t), 1, 4, 4, generator=generator, dtype=torch.float64)
    return schedule.add_noise(MEAN + STD * x, eps, t), t
