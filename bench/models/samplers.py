"""Samplers as short functions over a denoiser; each sample has its own noise, whatever the batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.core.transfers import constant_on
from bench.models.denoiser import Denoiser
from bench.models.schedules import karras_levels


class SampleNoise:
    """A stream of standard normal noise in which every sample has its own CPU generator and seed.

    The noise of sample i depends on its seed alone, not on the batch size, the device or the other samples.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        """`seeds` has one entry per sample, `shape` is one image's [C, H, W]."""
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.shape = tuple(shape)
        self.device = device
        self._drawn: Tensor | None = None

    def labels(self, classes: int) -> Tensor:
        """Draw each sample's class after its first noise, from the same generator (EDM's generate.py): [B]."""
        self._drawn = self.draw()
        return torch.stack([torch.randint(classes, (), generator=generator) for generator in self.generators])

    def draw(self) -> Tensor:
        """Return the next noise of every sample: [B, C, H, W]."""
        if self._drawn is not None:
            drawn, self._drawn = self._drawn, None
            return drawn
        noise = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(noise).to(self.device)


class BatchSeededNoise(SampleNoise):
    """Noise whose first draw is that of a script that seeds one generator per batch with the batch's number.

    The first noise of sample i is row i mod `batch` of the draw of generator i // `batch`; later draws come from
    its own generator.
    """

    def __init__(
        self, seeds: Sequence[int], shape: Sequence[int], batch: int, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(seeds, shape, device)
        drawn: dict[int, Tensor] = {}
        for seed in seeds:
            if seed // batch not in drawn:
                generator = torch.Generator().manual_seed(seed // batch)
                drawn[seed // batch] = torch.randn((batch, *shape), generator=generator)
        self._drawn = torch.stack([drawn[seed // batch][seed % batch] for seed in seeds]).to(device)


Sampler = Callable[[SampleNoise, Tensor], Tensor]
"""A student or a sampler of the teacher: noise and conditions -> images [B, C, H, W] in [-1, 1], or latents."""


def few_step(denoiser: Denoiser, noise: SampleNoise, condition: Tensor, indices: Sequence[int]) -> Tensor:
    """Sample an N-step student: denoise, add fresh noise, denoise ... (DMD2, Sec. 4.4).

    `indices` are positions on the schedule's grid, descending. Returns x0 [B, C, H, W].
    """
    schedule = denoiser.schedule
    eps = noise.draw()
    first, *others = (constant_on(schedule.grid, eps.device)[index].expand(len(eps)) for index in indices)
    x0 = denoiser(schedule.prior(eps, first), first, condition)
    for t in others:
        x0 = denoiser(schedule.add_noise(x0, noise.draw(), t), t, condition)
    return x0


def few_step_ode(denoiser: Denoiser, noise: SampleNoise, condition: Tensor, indices: Sequence[int]) -> Tensor:
    """Sample an N-step student by its ODE: DDIM steps, which draw no noise after the first.

    `indices` are positions on the schedule's grid, descending. The last step leads to x0 [B, C, H, W].
    """
    schedule = denoiser.schedule
    eps = noise.draw()
    times = [constant_on(schedule.grid, eps.device)[index].expand(len(eps)) for index in indices]
    x_t = schedule.prior(eps, times[0])
    x0 = denoiser(x_t, times[0], condition)
    for t, s in itertools.pairwise(times):
        x_t = schedule.ode_point(x_t, x0, t, s)
        x0 = denoiser(x_t, s, condition)
    return x0


def heun(
    denoiser: Denoiser,
    noise: SampleNoise,
    condition: Tensor,
    steps: int,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.05, 50.0),
    churn_noise: float = 1.003,
) -> Tensor:
    """Sample with EDM's second-order solver: the ODE for churn 0 (Alg. 1), else the SDE (Alg. 2).

    The solver works on y = x_t / alpha_t and the noise level sigma_t / alpha_t; in these variables every schedule
    is EDM's. It takes 2 steps - 1 network evaluations. Returns x0 [B, C, H, W].
    """
    schedule = denoiser.schedule
    low, high = schedule.time_range()
    levels = [*karras_levels(steps, low, high).tolist(), 0.0]

    def denoise(y: Tensor, level: float) -> Tensor:
        t = schedule.time_at(torch.full((len(y),), level, dtype=torch.float64, device=y.device))
        return denoiser(y * schedule.alpha(t[:1]).to(y.dtype), t, condition)

    y = levels[0] * noise.draw()
    for level, following in itertools.pairwise(levels):
        if churn > 0 and churn_range[0] <= level <= churn_range[1]:
            # Not above the schedule's last level (VP's 14.6 is in the churn range): no network was trained there.
            raised = min(level * (1 + min(churn / steps, 2**0.5 - 1)), levels[0])
            y = y + (raised**2 - level**2) ** 0.5 * churn_noise * noise.draw()
            level = raised
        slope = (y - denoise(y, level)) / level
        ahead = y + (following - level) * slope
        if following > 0:
            slope = (slope + (ahead - denoise(ahead, following)) / following) / 2
            ahead = y + (following - level) * slope
        y = ahead
    return y


def flow_ode(
    denoiser: Denoiser, noise: SampleNoise, condition: Tensor, times: Sequence[float], second_order: bool = True
) -> Tensor:
    """Sample a rectified flow by its ODE, dx/dt = (x_t - D(x_t, t)) / t, with Heun's steps or with Euler's.

    `times` descend from at most 1, one for each step; the last step, always Euler's, leads to 0. Heun takes
    2 steps - 1 network evaluations. Returns x0 [B, C, H, W].
    """
    eps = noise.draw()
    x_t = denoiser.schedule.prior(eps, torch.full((len(eps),), times[0], dtype=torch.float64, device=eps.device))

    def velocity(x_t: Tensor, time: float) -> Tensor:
        t = torch.full((len(x_t),), time, dtype=torch.float64, device=x_t.device)
        return (x_t - denoiser(x_t, t, condition)) / time

    for time, following in itertools.pairwise([*times, 0.0]):
        slope = velocity(x_t, time)
        if second_order and following > 0:
            slope = (slope + velocity(x_t + (following - time) * slope, following)) / 2
        x_t = x_t + (following - time) * slope
    return x_t


def ddim(denoiser: Denoiser, noise: SampleNoise, condition: Tensor, steps: int) -> Tensor:
    """Sample with DDIM at evenly spaced positions of the schedule's grid, the last first. Returns x0 [B, C, H, W].

    On a rectified flow these are Euler's steps.
    """
    count = len(denoiser.schedule.grid)
    return few_step_ode(denoiser, noise, condition, [round(count * (1 - i / steps)) - 1 for i in range(steps)])
