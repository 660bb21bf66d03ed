"""Laws from which losses draw noise levels, sigma / alpha, for every schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.schedules import NoiseSchedule
from bench.training.context import Batch


def lognormal_times(schedule: NoiseSchedule, batch: Batch, count: int, mean: float, std: float) -> Tensor:
    """Draw `count` times whose noise level has a logarithm distributed as N(mean, std^2) (EDM, Table 1): [count].

    Levels that the schedule does not have become the nearest ones that it has.
    """
    normal = batch.rng.normal(torch.empty(count))
    return schedule.time_at((mean + std * normal).exp()).to(normal.device, torch.float32)
