"""Methods that learn a map along the ODE train text-to-image students under guidance, whole or as a LoRA."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from text_pipelines import LATENT_SIDE, SIDE, normal, tiny_unet

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.samplers import SampleNoise
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, Distiller, Pairs, TrainingContext
from bench.training.step_rng import StepRNG

LAYOUT = ConditionLayout(tokens=77, width=40, pooled=24)
CATALOGUE = load_catalogue()
NAMES = ["consistency-4step", "scm-4step", "meanflow-4step"]


@lru_cache(maxsize=1)
def teacher() -> StableDiffusionDenoiser:
    """A tiny SDXL's UNet, frozen; methods copy it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = tiny_unet(sdxl=True)
    return StableDiffusionDenoiser(unet, VPSchedule(), LAYOUT, resolution=SIDE).eval().requires_grad_(False)


def no_pairs(count: int) -> Pairs:
    raise AssertionError(f"{count} pairs asked for")


def make(name: str, **values: Any) -> Distiller[Any]:
    settings = {"guidance_scale": 8.0, "batch_size": 2, "lr": 1e-4, "warmup": 0, **values}
    method = CATALOGUE.methods.get(name)
    context = TrainingContext(Accelerator(cpu=True), teacher(), torch.zeros(1, LAYOUT.size), no_pairs, latent=True)
    return method.load()(method.recipe("tiny", "paper", settings), context)


def step(distiller: Distiller[Any], iteration: int = 0) -> dict[str, float]:
    """Train one iteration on prompts and real latents."""
    real, condition = normal(2, 2, 4, LATENT_SIDE, LATENT_SIDE), normal(3, 2, LAYOUT.size)
    figures = distiller.training_step(Batch(iteration, StepRNG(0, iteration), condition, real, condition))
    return {name: float(figure) for name, figure in figures.items()}


@pytest.mark.parametrize("name", NAMES)
def test_guidance_changes_what_the_student_learns(name: str) -> None:
    guided, plain = (make(name, guidance_scale=scale) for scale in (8.0, 1.0))
    found, other = step(guided), step(plain)
    assert found != other
    assert torch.isfinite(torch.tensor(list(found.values()))).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_is_trained_saved_and_sampled(name: str, tmp_path: Path) -> None:
    method = make(name, lora_rank=2)
    for iteration in range(2):
        step(method, iteration)
    student = method.generator.network.eval()
    save_denoiser(student, tmp_path / "student", method.indices)
    again = load_denoiser(tmp_path / "student", StableDiffusionDenoiser, teacher())
    assert again.indices == [999, 749, 499, 249]
    condition = normal(4, 2, LAYOUT.size)
    shape = (4, LATENT_SIDE, LATENT_SIDE)
    with torch.no_grad():
        expected, found = (
            method.sampler(method.recipe, one)(SampleNoise([1, 2], shape), condition)
            for one in (student, again.denoiser)
        )
        before = method.sampler(method.recipe, method.build_student(teacher()))(
            SampleNoise([1, 2], shape), condition
        )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_they_train_under_autocast(name: str) -> None:
    method = make(name, precision="bf16")
    before = [parameter.detach().clone() for parameter in method.generator.network.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        found = step(method)
    assert torch.isfinite(torch.tensor(list(found.values()))).all()
    after = method.generator.network.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
