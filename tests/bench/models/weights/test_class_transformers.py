"""A pipeline of DiT or SiT has the noise schedule of its scheduler, or is refused by the option's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from class_transformers import tiny_pipeline
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from bench.core.errors import UserError
from bench.models.weights.class_transformers import load_class_transformer


def saved(folder: Path, scheduler: Any) -> Path:
    pipeline = tiny_pipeline()
    pipeline.register_modules(scheduler=scheduler)
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("ends", [{}, {"beta_start": 0.0002, "beta_end": 0.015}])
def test_the_schedule_is_the_scheduler_s(ends: dict[str, float], tmp_path: Path) -> None:
    scheduler = DDIMScheduler(beta_schedule="linear", **ends)
    schedule = load_class_transformer(saved(tmp_path, scheduler), "dit").denoiser.schedule
    expected = scheduler.alphas_cumprod.double()
    torch.testing.assert_close(schedule.alpha(schedule.grid) ** 2, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "scheduler", "problem"),
    [
        ("dit", DDIMScheduler(rescale_betas_zero_snr=True), "rescale_betas_zero_snr is True"),
        ("dit", DDIMScheduler(beta_schedule="scaled_linear"), "beta_schedule is 'scaled_linear'"),
        ("dit", DDIMScheduler(trained_betas=[0.1, 0.2]), "trained_betas is "),
        ("dit", DDIMScheduler(prediction_type="v_prediction"), "for a network that predicts v"),
        ("dit", DDIMScheduler(prediction_type="sample"), "prediction_type is 'sample'"),
        ("dit", DDIMScheduler(num_train_timesteps=500), "num_train_timesteps is 500"),
        ("dit", DPMSolverMultistepScheduler(use_flow_sigmas=True), "use_flow_sigmas is True"),
        ("dit", EDMEulerScheduler(), "the scheduler is a 'EDMEulerScheduler'"),
        ("sit", FlowMatchEulerDiscreteScheduler(shift=3.0), "it has a shift"),
        ("sit", FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "it has a shift"),
        ("sit", FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "invert_sigmas is True"),
        ("sit", FlowMatchEulerDiscreteScheduler(num_train_timesteps=500), "num_train_timesteps is 500"),
        ("sit", FlowMatchEulerDiscreteScheduler(shift_terminal=0.1), "shift_terminal is 0.1"),
    ],
)
def test_another_noise_schedule_is_refused(
    kind: Literal["dit", "sit"], scheduler: Any, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"scheduler_config\.json: .*{problem}.*; fix: "):
        load_class_transformer(saved(tmp_path, scheduler), kind)
