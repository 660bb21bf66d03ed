"""Laws of the times at which distribution matching and CFG augmentation look at the generated images.

Times are drawn as positions on the schedule's noise grid, as in DMD2. On FlowSchedule a position is the time
before the grid's shift.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.transfers import constant_on
from bench.models.grid import grid_index
from bench.models.schedules import NoiseSchedule
from bench.training.context import Batch
from methods.terms import AugmentationTimes, Span

GAP = 0.005
"""Part of the grid by which "gap" is cleaner than the student: 5 of 1,000 steps (AaronCaoZJ/SenseFlow)."""


def logit_normal_times(schedule: NoiseSchedule, batch: Batch, span: Span, count: int) -> Tensor:
    """Draw times [count] at positions sigmoid(n), n ~ N(0, 1), of the whole grid, clamped to `span`."""
    low, high = _bounds(schedule, span)
    drawn = batch.rng.normal(torch.empty(count)).sigmoid() * len(schedule.grid)
    return _at(schedule, drawn.long().clamp(low, high))


def augmentation_times(
    schedule: NoiseSchedule, batch: Batch, span: Span, student_times: Tensor, law: AugmentationTimes
) -> Tensor:
    """Draw times [B] in `span` that are no noisier than the student's own [B], which are times of the grid.

    Where the student's own time is cleaner than the whole span, it is the first of the span.
    """
    low, high = _bounds(schedule, span)
    grid = constant_on(schedule.grid, student_times.device, torch.float32)
    own = torch.searchsorted(grid, student_times.contiguous())
    if law == "capped":  # times beyond an end of the span become that end, so these are drawn more often
        first, last = torch.zeros_like(own), own
    else:
        gap = grid_index(GAP, len(schedule.grid)) if law == "gap" else 0
        last = (own - gap).clamp(low, high)
        first = torch.full_like(last, low)
    drawn = first + (_uniform(batch, len(last)) * (last - first + 1)).long()
    return _at(schedule, drawn.clamp(low, high))


def _bounds(schedule: NoiseSchedule, span: Span) -> tuple[int, int]:
    low, high = (grid_index(end, len(schedule.grid)) for end in span)
    return low, high


def _uniform(batch: Batch, count: int) -> Tensor:
    """Draw numbers [count] in [0, 1), in float64."""
    return batch.rng.integers(0, 2**24, count).double() / 2**24


def _at(schedule: NoiseSchedule, positions: Tensor) -> Tensor:
    return constant_on(schedule.grid, positions.device, torch.float32)[positions]
