"""The baselines of SANA's tasks make the images of the stock pipelines, at their published settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sana_pipelines import LATENT_SHAPE, PROMPTS, SIDE, tiny_sana, tiny_sprint
from torch import Tensor

from bench.models.samplers import SampleNoise
from bench.models.text.pipelines import load_pipeline
from tasks.text.flow_baselines import SANA, FlowBaseline
from tasks.text.sampling import sample


def noise() -> SampleNoise:
    return SampleNoise([5, 6], LATENT_SHAPE)


def sampled(stock: Any, folder: Path, baseline: FlowBaseline) -> Tensor:
    """Sample a baseline of the same pipeline, read from its folder."""
    stock.save_pretrained(folder)
    pipeline = load_pipeline(folder)
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    return sample(pipeline, replace(baseline, resolution=SIDE), noise(), condition, null)


def stock_latents(stock: Any, **options: Any) -> Tensor:
    size = {"height": SIDE, "width": SIDE, "use_resolution_binning": False, "output_type": "latent"}
    latents: Tensor = stock(PROMPTS[:2], latents=noise().draw(), guidance_scale=4.5, **size, **options).images
    return latents


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_the_teacher_s_images_are_those_of_the_published_solver(tmp_path: Path, steps: int) -> None:
    stock = tiny_sana()
    found = sampled(stock, tmp_path, replace(SANA["teacher"], steps=steps))
    torch.testing.assert_close(found, stock_latents(stock, num_inference_steps=steps), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sana_sprint_s_images_are_those_of_its_pipeline(tmp_path: Path) -> None:
    stock, generators = tiny_sprint(), noise().generators
    for generator in generators:
        torch.randn(LATENT_SHAPE, generator=generator)  # the first noise of each is given
    found = sampled(stock, tmp_path, SANA["sprint-2-1.6b"])
    expected = stock_latents(stock, num_inference_steps=2, generator=generators)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
