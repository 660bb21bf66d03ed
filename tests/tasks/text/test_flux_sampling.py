"""FLUX.1's baselines make the images of the stock pipeline, at their published settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from flux_networks import SIDE, first_noise, save_flux
from safetensors.torch import save_file
from text_pipelines import PROMPTS
from torch import Tensor

from bench.models.backbones.flux import pack, unpack
from bench.models.backbones.text import TextPipeline
from bench.models.text.pipelines import load_pipeline
from tasks.text.flow_baselines import FLUX, FlowBaseline
from tasks.text.sampling import load_baseline, sample

RESOLUTION = 2 * SIDE


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux(tmp_path_factory.mktemp("flux") / "dev")


def stock(folder: Path) -> FluxPipeline:
    pipeline = FluxPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_latents(pipeline: FluxPipeline, **options: Any) -> Tensor:
    size = {"height": RESOLUTION, "width": RESOLUTION, "output_type": "latent"}
    packed = pipeline(PROMPTS[:2], latents=pack(first_noise().draw()), **size, **options).images
    return unpack(packed, SIDE // 2)


def sampled(baseline: FlowBaseline, pipeline: TextPipeline) -> Tensor:
    baseline = replace(baseline, resolution=RESOLUTION)
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    return sample(pipeline, baseline, first_noise(), condition, null)


@pytest.mark.parametrize("steps", [1, 25])
def test_the_teacher_s_images_are_dev_s(dev: Path, steps: int) -> None:
    found = sampled(replace(FLUX["teacher"], steps=steps), load_pipeline(dev))
    expected = stock_latents(stock(dev), num_inference_steps=steps, guidance_scale=3.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_schnell_s_images_are_those_of_its_own_pipeline(dev: Path, tmp_path: Path) -> None:
    """Its authors take 256 tokens of a prompt for T5, and dev's 512."""
    folder = save_flux(tmp_path / "schnell", guidance_embeds=False)
    pipeline = load_baseline(FLUX["schnell-4"], load_pipeline(dev), folder)
    options = {"num_inference_steps": 4, "guidance_scale": 0.0, "max_sequence_length": 256}
    expected = stock_latents(stock(folder), **options)
    torch.testing.assert_close(sampled(FLUX["schnell-4"], pipeline), expected, rtol=0, atol=1e-5)


def test_hyper_flux_s_images_are_those_of_dev_with_an_eighth_of_its_lora(dev: Path, tmp_path: Path) -> None:
    torch.manual_seed(8)
    layers = ("transformer_blocks.0.attn.add_q_proj", "single_transformer_blocks.1.attn.to_k")
    state = {f"transformer.{layer}.lora_A.weight": torch.randn(2, 32) for layer in layers}
    state |= {f"transformer.{layer}.lora_B.weight": torch.randn(32, 2) for layer in layers}
    save_file(state, tmp_path / "lora.safetensors")
    baseline = FLUX["hyper-8"]
    pipeline = load_baseline(baseline, load_pipeline(dev), tmp_path / "lora.safetensors")
    fused = stock(dev)
    fused.load_lora_weights(tmp_path / "lora.safetensors")
    fused.fuse_lora(lora_scale=0.125)
    expected = stock_latents(fused, num_inference_steps=8, guidance_scale=3.5)
    torch.testing.assert_close(sampled(baseline, pipeline), expected, rtol=0, atol=1e-5)
