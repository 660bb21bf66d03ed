"""SD3's pipelines are read part by part: their embeddings and images are those of the stock pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from sd3_pipelines import save_sd3
from text_pipelines import LATENT_SIDE, PROMPTS, SIDE, normal
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.samplers import SampleNoise
from bench.models.text.pipelines import load_pipeline
from tasks.text.flow_baselines import SD35_LARGE, SD35_MEDIUM, FlowBaseline
from tasks.text.sampling import sample

TURBO = replace(SD35_LARGE["turbo-4"], weights=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd3(tmp_path_factory.mktemp("sd3") / "sd3")


@pytest.fixture(scope="module")
def stock(folder: Path) -> StableDiffusion3Pipeline:
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise() -> SampleNoise:
    return SampleNoise([1, 2], (4, LATENT_SIDE, LATENT_SIDE))


def stock_latents(stock: StableDiffusion3Pipeline, steps: int, guidance: float) -> Tensor:
    size = {"height": SIDE, "width": SIDE, "output_type": "latent"}
    scale = {"num_inference_steps": steps, "guidance_scale": guidance}
    found: Tensor = stock(PROMPTS[:2], latents=noise().draw(), **size, **scale).images
    return found


def test_the_family_is_found_by_the_pipeline_s_class(folder: Path) -> None:
    pipeline = load_pipeline(folder)
    denoiser = pipeline.denoiser()
    assert pipeline.family is SD3Denoiser and pipeline.resolution == SIDE
    assert (pipeline.encoder.layout.tokens, pipeline.encoder.layout.pooled) == (77 + 256, 16 + 24)
    assert denoiser.sample_shape == (4, LATENT_SIDE, LATENT_SIDE)
    assert denoiser.schedule.shift == 3


def test_embeddings_are_the_stock_pipeline_s(folder: Path, stock: StableDiffusion3Pipeline) -> None:
    encoder = load_pipeline(folder).encoder
    embeddings, pooled = encoder.layout.unpack(encoder.encode(PROMPTS))
    with torch.no_grad():
        expected, null, expected_pooled, null_pooled = stock.encode_prompt(PROMPTS, None, None)
    torch.testing.assert_close(embeddings, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, expected_pooled, rtol=0, atol=1e-5)
    embeddings, pooled = encoder.layout.unpack(encoder.null_condition())
    torch.testing.assert_close(embeddings, null[:1], rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, null_pooled[:1], rtol=0, atol=1e-5)


def test_latents_are_shifted_and_scaled_as_the_stock_pipeline_s(
    folder: Path, stock: StableDiffusion3Pipeline
) -> None:
    space, latents = load_pipeline(folder).latents, normal(5, 2, 4, LATENT_SIDE, LATENT_SIDE)
    config = stock.vae.config
    with torch.no_grad():
        expected = stock.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    torch.testing.assert_close(space.decode(latents), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("baseline", "guidance"),
    [(replace(SD35_MEDIUM["teacher"], steps=1), 4.5), (SD35_MEDIUM["teacher"], 4.5), (TURBO, 0.0)],
    ids=["one step", "40 steps", "turbo"],
)
def test_images_are_the_stock_pipeline_s(
    baseline: FlowBaseline, guidance: float, folder: Path, stock: StableDiffusion3Pipeline
) -> None:
    pipeline = load_pipeline(folder)
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    found = sample(pipeline, replace(baseline, resolution=SIDE), noise(), condition, null)
    torch.testing.assert_close(found, stock_latents(stock, baseline.steps, guidance), rtol=0, atol=1e-5)


class TestWhatIsWrong:
    def test_a_pipeline_without_t5(self, folder: Path, tmp_path: Path) -> None:
        """Some drop it to save memory; conditions would then be others than the teacher's."""
        shutil.copytree(folder, tmp_path / "sd3")
        shutil.rmtree(tmp_path / "sd3" / "text_encoder_3")
        with pytest.raises(UserError, match="text_encoder_3"):
            load_pipeline(tmp_path / "sd3")

    def test_an_image_that_is_no_whole_number_of_patches(self, folder: Path) -> None:
        with pytest.raises(UserError, match="images of 18 pixels do not consist of whole patches of 4"):
            load_pipeline(folder).denoiser(18)

    def test_another_schedule(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "sd3")
        config = tmp_path / "sd3" / "scheduler" / "scheduler_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"use_karras_sigmas": True}))
        with pytest.raises(UserError, match="the scheduler's use_karras_sigmas is True; only False is known"):
            load_pipeline(tmp_path / "sd3").denoiser()
