"""The sampler of a baseline: the teacher, sampled in a named way."""

from __future__ import annotations

from torch import Tensor

from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import Sampler, heun
from bench.task.declaration import Baseline


def baseline_sampler(teacher: Denoiser, null_condition: Tensor | None, baseline: Baseline) -> Sampler:
    """Return a named sampler of the teacher, which maps noise and conditions [B, ...] to x0 [B, C, H, W].

    Raises ValueError if the baseline uses guidance and the teacher has no null condition.
    """
    denoiser = teacher
    if baseline.guidance_scale != 1:
        if null_condition is None:
            raise ValueError(f"{baseline} uses guidance, but the teacher has no null condition")
        denoiser = GuidedDenoiser(teacher, null_condition, baseline.guidance_scale)
    return lambda noise, condition: heun(denoiser, noise, condition, baseline.steps, churn=baseline.churn)
