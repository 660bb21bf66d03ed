"""The sampler of a baseline: the teacher, sampled in a named way."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import Sampler, ddim, flow_ode, heun
from bench.task.declaration import Baseline, SolverBaseline


def baseline_sampler(teacher: Denoiser, null_condition: Tensor | None, baseline: Baseline) -> Sampler:
    """Return a named sampler of the teacher, which maps noise and conditions [B, ...] to x0 [B, C, H, W].

    Raises ValueError if the baseline uses guidance and the teacher has no null condition.
    """
    denoiser = teacher
    limits: tuple[Any, ...] = ()
    if isinstance(baseline, SolverBaseline):
        limits = (baseline.guidance_levels, baseline.guided_channels)
    if baseline.guidance_scale != 1:
        if null_condition is None:
            raise ValueError(f"{baseline} uses guidance, but the teacher has no null condition")
        denoiser = GuidedDenoiser(teacher, null_condition, baseline.guidance_scale, *limits)
    if not isinstance(baseline, SolverBaseline):
        return lambda noise, condition: heun(denoiser, noise, condition, baseline.steps, churn=baseline.churn)
    if baseline.solver == "ddim":
        return lambda noise, condition: ddim(denoiser, noise, condition, baseline.steps)
    times, second_order = baseline.flow_times, baseline.solver == "flow-heun"
    return lambda noise, condition: flow_ode(denoiser, noise, condition, times, second_order)
