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


@pytest.fixture(scope="module")
def folders(sd3_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pipelines whose scheduler has a shift of 3, and one that follows the number of tokens."""
    dynamic = save_sd3(tmp_path_factory.mktemp("sd3") / "dynamic", use_dynamic_shifting=True)
    return {"static": sd3_folder, "dynamic": dynamic}


def sampled(baseline: FlowBaseline, pipeline: TextPipeline) -> Tensor:
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    return sample(pipeline, replace(baseline, resolution=RESOLUTION), first_noise(), condition, null)


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (1, 4.5), (7, 1.0), (7, 4.5)])
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_teacher_s_latents_are_the_stock_pipeline_s(
    folders: dict[str, Path], kind: str, steps: int, guidance: float
) -> None:
    folder = folders[kind]
    baseline = replace(SD35_MEDIUM["teacher"], steps=steps, guidance_scale=guidance)
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    expected = stock_images(stock(folder), PROMPTS[:2], "latent", **options)
    torch.testing.assert_close(sampled(baseline, load_pipeline(folder)), expected, rtol=1e-5, atol=1e-5)


def test_turbo_s_latents_are_those_of_its_own_pipeline(sd3_folder: Path) -> None:
    baseline = SD35_LARGE["turbo-4"]
    pipeline = load_baseline(baseline, load_pipeline(sd3_folder), sd3_folder)
    expected = stock_images(stock(sd3_folder), PROMPTS[:2], "latent", num_inference_steps=4, guidance_scale=0.0)
    torch.testing.assert_close(sampled(baseline, pipeline), expected, rtol=1e-5, atol=1e-5)
