"""Sampling of baselines that are rectified flows, through their denoiser; each sample has its own noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor

from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import SampleNoise
from bench.models.schedules import FlowSchedule
from tasks.text.flow_baselines import DPM_SOLVER, EULER, FlowBaseline

SHIFT: Mapping[str, str] = {EULER: "shift", DPM_SOLVER: "flow_shift"}
"""The name that each scheduler has for the shift."""
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    EULER: {},
    DPM_SOLVER: {
        "algorithm_type": "dpmsolver++",
        "final_sigmas_type": "zero",
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "use_flow_sigmas": True,
    },
}
"""Options of the published scheduler files; all others are diffusers' defaults. Every baseline uses these, even if
the file in the teacher's folder has changed since; the shift is that of the model's own schedule."""


def make_flow_scheduler(baseline: FlowBaseline, schedule: FlowSchedule) -> Any:
    """Make a baseline's scheduler with its steps set.

    A shift that depends on the image's size is the same number for all of a task's images, so it is part of
    `schedule`.
    """
    own = {SHIFT[baseline.scheduler]: schedule.shift}
    kind = getattr(diffusers, baseline.scheduler)
    scheduler = kind(**{**own, **PUBLISHED[baseline.scheduler], **baseline.settings})
    if baseline.sigmas is None:
        scheduler.set_timesteps(baseline.steps)
    else:
        scheduler.set_timesteps(sigmas=list(baseline.sigmas))
    return scheduler


@torch.no_grad()
def sample_flow(
    denoiser: Denoiser,
    baseline: FlowBaseline,
    noise: SampleNoise,
    condition: Tensor,
    null_condition: Tensor | None,
) -> Tensor:
    """Sample x0 [B, C, h, w] for conditions [B, K], as diffusers' own pipelines do.

    The first noise and every later draw of a sample come from its own generator in `noise`. `null_condition` is
    [1, K]; only guidance requires it.
    """
    schedule = denoiser.schedule
    assert isinstance(schedule, FlowSchedule)
    scheduler = make_flow_scheduler(baseline, schedule)
    guided = denoiser
    if baseline.guided:
        assert null_condition is not None
        guided = GuidedDenoiser(denoiser, null_condition, baseline.guidance_scale)
    x = noise.draw().to(condition.device)
    following = scheduler.sigmas[1:].tolist()
    for timestep, later in zip(scheduler.timesteps, following, strict=True):
        # DPM-Solver's times are whole thousandths, which the network is told, and its noise levels are not.
        t = (timestep.to(torch.float32) / 1000).to(x.device).expand(len(x))
        x0 = guided(x, t, condition)
        if baseline.fresh_noise:
            x = (1 - later) * x0 + later * noise.draw().to(x.device) if later else x0
        else:
            velocity = (x - x0) / t.view(-1, 1, 1, 1)
            x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    return x
