"""A variance-preserving denoiser on classes: Stable Diffusion's predictions on the micro tasks' networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bench.models.backbones.edm import EDMDenoiser
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import EDMSchedule, VPSchedule


class VPDenoiser(EDMDenoiser):
    """EDM's network as one that predicts epsilon or v."""

    def __init__(self, network: Any, schedule: VPSchedule, taps: Sequence[str] = ("mid",)) -> None:
        super().__init__(network, EDMSchedule(), taps=taps)
        self.schedule = schedule  # type: ignore[assignment]

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, t

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        predicted = self._network(x_t, t, condition)
        return prediction_to_x0(x_t, predicted, t, self.schedule, self.schedule.prediction)
