"""Students of SD3 on disk: read back equal, and used by the stock pipeline with equal images."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel
from sd3_pipelines import first_noise, stock, stock_images
from text_pipelines import PROMPTS
from torch import Tensor

from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import few_step_ode
from bench.models.saved import LORA_FILE, load_denoiser, save_denoiser
from bench.models.text.pipelines import load_pipeline


@pytest.fixture(scope="module")
def pipeline(sd3_folder: Path) -> TextPipeline:
    return load_pipeline(sd3_folder)


def student_of(pipeline: TextPipeline, kind: str) -> SD3Denoiser:
    """A copy of the teacher, moved as by a training."""
    student = copy.deepcopy(pipeline).denoiser()
    assert isinstance(student, SD3Denoiser)
    if kind == "lora":
        student.add_adapters(4, 6)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if kind == "full" or "lora_B" in name:
                parameter += 0.05 * torch.randn_like(parameter)
    return student


def latents(pipeline: TextPipeline, student: SD3Denoiser) -> Tensor:
    with torch.no_grad():
        return few_step_ode(student, first_noise(), pipeline.encoder.encode(PROMPTS[:2]), [999])


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_student_is_read_back_equal_and_makes_the_stock_pipeline_s_images(
    kind: str, pipeline: TextPipeline, sd3_folder: Path, tmp_path: Path
) -> None:
    student, folder, teacher = student_of(pipeline, kind), tmp_path / "student", pipeline.denoiser()
    assert isinstance(teacher, SD3Denoiser)
    save_denoiser(student, folder, [999])
    assert (folder / LORA_FILE).is_file() == (kind == "lora")
    expected = latents(pipeline, student)
    found = load_denoiser(folder, SD3Denoiser, teacher).denoiser
    torch.testing.assert_close(latents(pipeline, found), expected, rtol=0, atol=1e-5)
    own = stock(sd3_folder)
    if kind == "lora":
        own.load_lora_weights(folder)
    else:
        own.transformer = SD3Transformer2DModel.from_pretrained(folder / "transformer", local_files_only=True)
    options = {"num_inference_steps": 1, "guidance_scale": 1}
    torch.testing.assert_close(stock_images(own, PROMPTS[:2], "latent", **options), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(latents(pipeline, teacher), expected, atol=1e-2)
