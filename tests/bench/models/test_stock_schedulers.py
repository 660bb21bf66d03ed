"""A pipeline's scheduler is replaced only by one for the same network: then perfect estimates give the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
)
from torch import Tensor

from bench.core.errors import UserError
from bench.models.schedules import VPSchedule
from bench.models.stock_schedulers import own_scheduler, replaced, scheduler_class

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OWN: dict[str, SchedulerMixin] = {
    "SD1.5": PNDMScheduler(**BETAS, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1),
    "SDXL": EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
    "SD2.1": DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False),
    "zero SNR": DDIMScheduler(
        **BETAS,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    ),
    "SD3": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "FLUX.1": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    "SANA": DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0, final_sigmas_type="zero"
    ),
    "EDM": EDMDPMSolverMultistepScheduler(sigma_data=0.5, sigma_max=80.0, final_sigmas_type="zero"),
}
FITTING = {
    "SD1.5": ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "LCMScheduler"),
    "SDXL": ("DDIMScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler", "TCDScheduler"),
    "SD2.1": ("PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    "zero SNR": ("EulerDiscreteScheduler", "LCMScheduler", "UniPCMultistepScheduler"),
    "SD3": ("FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"),
    "FLUX.1": ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"),
    "SANA": ("UniPCMultistepScheduler", "DPMSolverSinglestepScheduler"),
    "EDM": ("EDMEulerScheduler",),
}
OTHERS = {
    "SD1.5": ("EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", "IPNDMScheduler", "ScoreSdeVeScheduler"),
    "SDXL": ("DDIMInverseScheduler", "SCMScheduler", "CMStochasticIterativeScheduler", "KarrasVeScheduler"),
    "SD2.1": ("RePaintScheduler", "CogVideoXDDIMScheduler"),
    "zero SNR": ("PNDMScheduler", "DEISMultistepScheduler", "HeunDiscreteScheduler"),
    "SD3": ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "EDMEulerScheduler"),
    "FLUX.1": ("FlowMatchHeunDiscreteScheduler", "PNDMScheduler"),
    "SANA": ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler"),
    "EDM": ("EulerDiscreteScheduler", "DDIMScheduler"),
}


@pytest.mark.parametrize("model", OWN)
def test_a_scheduler_that_fits_finds_the_data_of_a_perfect_network(model: str) -> None:
    """The data are one point, so that every estimate of x0 along the way is that point."""
    point = torch.linspace(-0.8, 0.8, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    for name in (type(OWN[model]).__name__, *FITTING[model]):
        scheduler = replaced(OWN[model], scheduler_class(name), model)
        assert isinstance(scheduler, scheduler_class(name))
        assert (sampled(scheduler, model, point) - point).abs().max() < 0.1, name


@pytest.mark.parametrize("model", OWN)
def test_a_scheduler_of_other_networks_is_refused_with_those_that_fit(model: str) -> None:
    for name in OTHERS[model]:
        with pytest.raises(UserError, match=rf"{name} is for other networks than {model}'s .*; fix: ") as refused:
            replaced(OWN[model], scheduler_class(name), model)
        named = str(refused.value).partition("name one of ")[2].split(", ")
        assert {type(OWN[model]).__name__, *FITTING[model]} <= set(named)
        assert not set(OTHERS[model]) & set(named)


@pytest.mark.parametrize(
    ("model", "other", "why"),
    [
        ("SD1.5", "EDMEulerScheduler", "the noise is EDM's for betas"),
        ("SD1.5", "FlowMatchHeunDiscreteScheduler", "the noise is a rectified flow for betas"),
        ("SD1.5", "RePaintScheduler", "the noise is RePaintScheduler for betas"),
        ("SD2.1", "CogVideoXDDIMScheduler", "another alphas_cumprod"),
        ("zero SNR", "PNDMScheduler", "another alphas_cumprod"),
        ("FLUX.1", "FlowMatchHeunDiscreteScheduler", "use_dynamic_shifting is False for True"),
        ("SANA", "FlowMatchEulerDiscreteScheduler", r"shift is 1\.0 for 3\.0"),
    ],
)
def test_the_difference_is_named(model: str, other: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        replaced(OWN[model], scheduler_class(other), model)


def test_a_scheduler_that_cannot_be_made_of_the_options_is_refused() -> None:
    with pytest.raises(UserError, match="UnCLIPScheduler cannot be made of the options of sd's PNDM"):
        replaced(OWN["SD1.5"], diffusers.UnCLIPScheduler, "sd")


def test_a_folder_without_a_scheduler(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "UnCLIPPipeline"}))
    with pytest.raises(UserError, match="has no scheduler that diffusers knows but None; fix: leave out"):
        own_scheduler(tmp_path)


def sampled(scheduler: Any, model: str, point: Tensor) -> Tensor:
    """Sample [1, 1, 4, 4] with a scheduler from a network that knows that all data are `point`."""
    torch.manual_seed(0)  # of the noise that some schedulers draw in their steps, too
    options = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(12, **options)
    x = torch.randn(point.shape, dtype=torch.float64)
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        predicted = prediction(model, scaled, t, point)
        x = scheduler.step(predicted, t, x, return_dict=False)[0].double()
    return x


def prediction(model: str, x: Tensor, t: Tensor, point: Tensor) -> Tensor:
    """Return what the network of a model says at the input x and the time t that the scheduler gives it."""
    if model in ("SD3", "FLUX.1", "SANA"):
        return (x - point) / (t.double() / 1000)
    if model == "EDM":
        sigma, data = (4 * t.double()).exp(), 0.5
        root = (sigma**2 + data**2).sqrt()
        return (point - data**2 / root**2 * (root * x)) / (sigma * data / root)
    schedule = VPSchedule(beta_start=0.00085, beta_end=0.012)
    if model == "zero SNR":
        schedule = _zero_terminal(schedule)
    alpha, sigma = schedule.alpha(t[None]), schedule.sigma(t[None])
    eps = (x - alpha * point) / sigma
    return eps if model in ("SD1.5", "SDXL") else alpha * eps - sigma * point


def _zero_terminal(schedule: VPSchedule) -> VPSchedule:
    """Return the schedule of Lin et al. (2305.08891), Algorithm 1: sqrt(alpha_bar) moved to 0 at the last time."""
    root = (schedule.log_alpha_bar / 2).exp()
    moved = (root - root[-1]) * root[0] / (root[0] - root[-1])
    schedule.log_alpha_bar = 2 * moved.log()
    return schedule
