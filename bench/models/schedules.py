"""Noise schedules in the paper's notation: x_t = alpha_t x + sigma_t eps (DMD2, Sec. 3)."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.core.transfers import constant_on

Betas = Literal["scaled_linear", "linear"]
"""How the betas of a variance-preserving schedule grow: linear are their roots, or they themselves."""


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """Reshape [B] to [B, 1, 1, ...] in the dtype of `like`, so that it multiplies a batch of images."""
    return value.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


class NoiseSchedule(ABC):
    """alpha_t and sigma_t over the schedule's own time t.

    alpha may be 0 at the last time of the grid, and there alone: SD with zero terminal SNR, flow models.
    `grid` holds the times that losses draw from: 1,000 of them, ascending in noise, float64.
    """

    grid: Tensor

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale at times t: [B] -> [B]."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale at times t: [B] -> [B]."""

    @abstractmethod
    def denoising_weight(self, t: Tensor) -> Tensor:
        """Weight of the squared error in x0 that equals the backbone's own training loss: [B] -> [B]."""

    @abstractmethod
    def time_at(self, noise_level: Tensor) -> Tensor:
        """Time t at which sigma_t / alpha_t is `noise_level`: the inverse that samplers need."""

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The forward process F(x, t): alpha_t x + sigma_t eps, t [B]."""
        return per_sample(self.alpha(t), x) * x + per_sample(self.sigma(t), x) * eps

    def ode_point(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return x_s at times s [B] on the line through x_t that an estimate x0 gives: a step of DDIM."""
        return self.add_noise(x0, self.noise_in(x_t, x0, t), s)

    def noise_in(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Return the noise eps in x_t at times t [B], given an estimate x0."""
        return (x_t - per_sample(self.alpha(t), x_t) * x0) / per_sample(self.sigma(t), x_t)

    def noise_between(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and noise of the forward process from times s [B] to the same or noisier ones t: a, b, [B].

        x_t = a x_s + b eps, with a = alpha_t / alpha_s and b^2 = sigma_t^2 - a^2 sigma_s^2.
        """
        ratio = self.alpha(t) / self.alpha(s)
        return ratio, (self.sigma(t) ** 2 - (ratio * self.sigma(s)) ** 2).clamp(min=0).sqrt()

    def prior(self, eps: Tensor, t: Tensor | None = None) -> Tensor:
        """Return a sampler's first input: noise without signal, sigma_t eps, at times t [B] or the last time."""
        at = constant_on(self.grid, eps.device)[-1:] if t is None else t
        return per_sample(self.sigma(at), eps) * eps

    def flow_time(self, t: Tensor) -> Tensor:
        """Return rectified flow's time of the same noise level, sigma / (alpha + sigma): [B] -> [B]."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        return sigma / (alpha + sigma)

    def from_flow(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t and t [B] where rectified flow has z = (1 - u) x + u eps at times u [B]; z [B, ...].

        The noise level is the same, and x_t = (alpha + sigma) z. Back lead `flow_time` and a division.
        """
        t = self.time_at(u / (1 - u))
        return per_sample(self.alpha(t) + self.sigma(t), z) * z, t

    def time_range(self) -> tuple[float, float]:
        """Return the smallest and largest noise level sigma / alpha on the grid, of times with alpha > 0."""
        last = -1 if self.alpha(self.grid[-1:]) > 0 else -2
        ends = self.grid[[0, last]]
        low, high = (self.sigma(ends) / self.alpha(ends)).tolist()
        return low, high


class EDMSchedule(NoiseSchedule):
    """Variance exploding, alpha = 1 and t = sigma, on a Karras grid (EDM, Eq. 5; DMD2's ImageNet runs)."""

    def __init__(
        self,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        steps: int = 1000,
    ) -> None:
        self.sigma_data = sigma_data
        self.grid = karras_levels(steps, sigma_min, sigma_max, rho).flip(0)

    def starting_at(self, sigma: float) -> tuple[EDMSchedule, int]:
        """Return a copy whose grid has this noise level, in place of the nearest one, and its position.

        Raises ValueError if the level is not within the grid.
        """
        if not self.grid[0] <= sigma <= self.grid[-1] + 1e-6:
            raise ValueError(f"{sigma:g} is not between {self.grid[0]:g} and {self.grid[-1]:g}")
        index = int((self.grid - sigma).abs().argmin())
        changed = copy.copy(self)
        if not math.isclose(float(self.grid[index]), sigma, rel_tol=1e-9):
            changed.grid = self.grid.clone()
            changed.grid[index] = sigma
        return changed, index

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def denoising_weight(self, t: Tensor) -> Tensor:
        """EDM's lambda(sigma) = 1 / sigma^2 + 1 / sigma_data^2 (EDM, Table 1)."""
        return t**-2 + self.sigma_data**-2

    def time_at(self, noise_level: Tensor) -> Tensor:
        return noise_level


class VPSchedule(NoiseSchedule):
    """Variance preserving, alpha^2 + sigma^2 = 1, t = 0 ... 999.

    The betas, by diffusers' names: Stable Diffusion's are "scaled_linear", those of DDPM and DiT "linear".
    """

    def __init__(
        self,
        prediction: Literal["epsilon", "v"] = "epsilon",
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        steps: int = 1000,
        betas: Betas = "scaled_linear",
    ) -> None:
        power = 2 if betas == "scaled_linear" else 1
        table = torch.linspace(beta_start ** (1 / power), beta_end ** (1 / power), steps, dtype=torch.float64)
        self.prediction = prediction
        self.betas = betas
        self.beta_start, self.beta_end = beta_start, beta_end
        self.log_alpha_bar = torch.log1p(-(table**power)).cumsum(0)
        self.grid = torch.arange(steps, dtype=torch.float64)

    def with_alpha_bar(self, index: int, alpha_bar: float) -> VPSchedule:
        """Return a copy with another alpha_bar at one position of the grid, for evaluations that round it.

        0 at the last position is zero terminal SNR.
        """
        changed = copy.copy(self)
        changed.log_alpha_bar = self.log_alpha_bar.clone()
        changed.log_alpha_bar[index] = math.log(alpha_bar) if alpha_bar > 0 else -math.inf
        return changed

    def _alpha_bar(self, t: Tensor) -> Tensor:
        """Cumulative product of 1 - beta at real-valued t, linear in its logarithm between integers."""
        table = constant_on(self.log_alpha_bar, t.device)
        t = t.to(torch.float64).clamp(0, len(table) - 1)
        below = t.floor().long()
        above = (below + 1).clamp(max=len(table) - 1)
        # At the times of the table itself there is nothing to interpolate, and 0 * -inf is no number.
        between = torch.lerp(table[below], table[above], t - below)
        return torch.where(t == below, table[below], between).exp()

    def alpha(self, t: Tensor) -> Tensor:
        return self._alpha_bar(t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self._alpha_bar(t)).sqrt()

    def prior(self, eps: Tensor, t: Tensor | None = None) -> Tensor:  # noqa: ARG002 (the same at every time)
        """Pure noise, unscaled: the published students start from it although sigma_T is 0.9977."""
        return eps

    def denoising_weight(self, t: Tensor) -> Tensor:
        """alpha^2 / sigma^2 for an epsilon loss, 1 / sigma^2 for a v loss (both as an error in x0)."""
        signal = self._alpha_bar(t)
        return (signal if self.prediction == "epsilon" else 1.0) / (1 - signal)

    def time_at(self, noise_level: Tensor) -> Tensor:
        table = constant_on(self.log_alpha_bar, noise_level.device)
        wanted = -torch.log1p(noise_level.to(torch.float64) ** 2)  # log alpha_bar, descending in t
        above = torch.searchsorted(-table, -wanted).clamp(1, len(table) - 1)
        low, high = table[above - 1], table[above]
        between = above - 1 + (wanted - low) / (high - low)
        return torch.where(wanted == high, above, between).clamp(0, len(table) - 1)


class FlowSchedule(NoiseSchedule):
    """The straight path of rectified flow, alpha = 1 - t and sigma = t (Liu et al., 2022).

    The grid is 1/1000 ... 1, moved towards noise by `shift` (Esser et al., 2024): losses, students and samplers
    that name positions on it then see more noise. Times themselves are never shifted.
    """

    def __init__(self, shift: float = 1.0, steps: int = 1000) -> None:
        self.shift = shift
        self.grid = shifted(torch.arange(1, steps + 1, dtype=torch.float64) / steps, shift)

    def with_times(self, times: Sequence[float]) -> tuple[FlowSchedule, list[int]]:
        """Return a copy whose grid has these times, in place of the nearest ones, and their positions.

        Raises ValueError unless the times are in (0, 1], and each has a position of its own.
        """
        changed = copy.copy(self)
        changed.grid = self.grid.clone()
        indices = [int((self.grid - time).abs().argmin()) for time in times]
        if not all(0 < time <= 1 for time in times) or len(set(indices)) < len(indices):
            raise ValueError(f"{list(times)} are not times in (0, 1] that differ on a grid of {len(self.grid)}")
        changed.grid[indices] = torch.tensor(list(times), dtype=torch.float64)
        return changed, indices

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def denoising_weight(self, t: Tensor) -> Tensor:
        """1 / t^2: the squared error in the velocity eps - x, as an error in x0."""
        return t**-2

    def time_at(self, noise_level: Tensor) -> Tensor:
        # level / (1 + level), written so that an infinite level is time 1
        return 1 / (1 + 1 / noise_level)


def shifted(t: Tensor, shift: float) -> Tensor:
    """Move flow times towards noise: s t / (1 + (s - 1) t), which multiplies the noise level t / (1 - t) by s."""
    return shift * t / (1 + (shift - 1) * t)


def dynamic_shift(
    tokens: int,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
    base_tokens: int = 256,
    max_tokens: int = 4096,
) -> float:
    """Return the shift e^mu for an image of `tokens` tokens; mu is linear in their number (FLUX.1's scheduler)."""
    slope = (max_shift - base_shift) / (max_tokens - base_tokens)
    return math.exp(base_shift + slope * (tokens - base_tokens))


def karras_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return `steps` levels from sigma_max down to sigma_min, evenly spaced in sigma^(1/rho) (EDM, Eq. 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (high + ramp * (low - high)) ** rho
