"""A denoiser of a few float64 numbers, for gradients by central finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from bench.models.denoiser import Denoiser, FeatureShape
from bench.models.schedules import EDMSchedule, NoiseSchedule, per_sample


class DoubleDenoiser(Denoiser):
    """Two convolutions in float64, which see the noise level; features are what the first one makes."""

    def __init__(self, seed: int, schedule: NoiseSchedule | None = None) -> None:
        super().__init__()
        self.schedule = schedule or EDMSchedule()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Conv2d(2, 6, 3, padding=1, dtype=torch.float64)
            self.second = nn.Conv2d(6, 1, 3, padding=1, dtype=torch.float64)

    @property
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        return ((6, 4, 4),)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        level = per_sample(self.schedule.sigma(t), x_t)
        made: Tensor = self.second(self.features(x_t, t, condition)[0])
        return (x_t + level * made) / (1 + level**2)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        level = per_sample(self.schedule.sigma(t), x_t)
        seen = torch.cat([x_t / (1 + level), level.log().expand_as(x_t) / 4 + per_sample(condition, x_t)], 1)
        return (self.first(seen).tanh(),)

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.first.parameters()

    def checkpoint_gradients(self) -> None:
        """Do nothing: there is nothing to save."""


def central_differences(loss: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-5) -> Tensor:
    """Return the gradient of a scalar function at x, two calls for each of its numbers."""
    gradient = torch.zeros_like(x)
    for index in range(x.numel()):
        ahead, behind = x.clone(), x.clone()
        ahead.view(-1)[index] += step
        behind.view(-1)[index] -= step
        gradient.view(-1)[index] = (loss(ahead) - loss(behind)) / (2 * step)
    return gradient
