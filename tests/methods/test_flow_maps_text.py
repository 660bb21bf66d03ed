"""Methods that learn a map along the ODE train text-to-image students under guidance, whole or as a LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from text_pipelines import LATENT_SIDE, normal
from tiny_sdxl import LAYOUT, teacher, text_context

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.samplers import SampleNoise
from bench.models.saved import load_denoiser, save_denoiser
from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, Distiller
from bench.training.step_rng import StepRNG

CATALOGUE = load_catalogue()
NAMES = ["consistency-4step", "scm-4step", "meanflow-4step"]


def make(name: str, **values: Any) -> Distiller[Any]:
    settings = {"guidance_scale": 8.0, "batch_size": 2, "lr": 1e-4, "warmup": 0, **values}
    method = CATALOGUE.methods.get(name)
    return method.load()(method.recipe("tiny", "paper", settings), text_context(latent=True))


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
