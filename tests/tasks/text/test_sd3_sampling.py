"""SD3.5's baselines make the images of the stock pipeline, at their published settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sd3_pipelines import RESOLUTION, first_noise, save_sd3, stock, stock_images
from text_pipelines import PROMPTS
from torch import Tensor

from bench.models.backbones.text import TextPipeline
from bench.models.text.pipelines import load_pipeline
from tasks.text.flow_baselines import SD35_LARGE, SD35_MEDIUM, FlowBaseline
from tasks.text.sampling import load_baseline, sample


def sampled(baseline: FlowBaseline, pipeline: TextPipeline) -> Tensor:
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    return sample(pipeline, replace(baseline, resolution=RESOLUTION), first_noise(), condition, null)


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (1, 4.5), (10, 1.0), (40, 4.5)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_teacher_s_latents_are_the_stock_pipeline_s(
    sd3_folder: Path, tmp_path: Path, steps: int, guidance: float, dynamic: bool
) -> None:
    folder = save_sd3(tmp_path / "dynamic", use_dynamic_shifting=True) if dynamic else sd3_folder
    baseline = replace(SD35_MEDIUM["teacher"], steps=steps, guidance_scale=guidance)
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    expected = stock_images(stock(folder), PROMPTS[:2], "latent", **options)
    torch.testing.assert_close(sampled(baseline, load_pipeline(folder)), expected, rtol=1e-5, atol=1e-5)


def test_turbo_s_latents_are_those_of_its_own_pipeline(sd3_folder: Path) -> None:
    baseline = SD35_LARGE["turbo-4"]
    pipeline = load_baseline(baseline, load_pipeline(sd3_folder), sd3_folder)
    expected = stock_images(stock(sd3_folder), PROMPTS[:2], "latent", num_inference_steps=4, guidance_scale=0.0)
    torch.testing.assert_close(sampled(baseline, pipeline), expected, rtol=1e-5, atol=1e-5)
