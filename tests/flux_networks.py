"""Tiny networks of FLUX.1, and diffusers' own pipelines around them, for the tests."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from text_pipelines import WORDS, text_config, tiny_tokenizer, tiny_vae
from torch import Tensor
from transformers import CLIPTextModel, T5Config, T5EncoderModel, T5TokenizerFast

from bench.models.backbones.flux import FluxDenoiser, pack, small_network, unpack
from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise, few_step_ode
from bench.models.schedules import FlowSchedule
from bench.models.text.layout import ConditionLayout

LAYOUT = ConditionLayout(tokens=5, width=12, pooled=6)
SIDE = 8
VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
"""FLUX.1's."""


def tiny_denoiser(
    guidance: float | None = None, layers: tuple[int, int] = (2, 2), shift: float = 1.0, **options
) -> FluxDenoiser:
    """Build a network like dev's, with an embedded guidance, or like schnell's, without one."""
    torch.manual_seed(0)
    network = small_network((4, SIDE, SIDE), 32, layers, 2, LAYOUT.width, LAYOUT.pooled, guidance is not None)
    options = {"side": SIDE, "embedded_guidance": guidance} | options
    return FluxDenoiser(network.eval(), FlowSchedule(shift), LAYOUT, **options)


def stock_pipeline(network: FluxTransformer2DModel, **scheduler) -> FluxPipeline:
    """Build diffusers' pipeline around a network, without text encoders."""
    vae = AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=1, **VAE)
    pipeline = FluxPipeline(FlowMatchEulerDiscreteScheduler(**scheduler), vae, None, None, None, None, network)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def conditions(seed: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, LAYOUT.size, generator=torch.Generator().manual_seed(seed))


def stock_latents(pipeline: FluxPipeline, condition: Tensor, null: Tensor | None = None, **options) -> Tensor:
    """Sample the pipeline from the noise of seeds 1 and 2, at its own times."""
    embeddings, pooled = LAYOUT.unpack(condition)
    if null is not None:
        options["negative_prompt_embeds"], options["negative_pooled_prompt_embeds"] = LAYOUT.unpack(null)
    packed = pipeline(
        prompt_embeds=embeddings,
        pooled_prompt_embeds=pooled,
        height=SIDE,
        width=SIDE,
        latents=pack(first_noise().draw().to(condition.dtype)),
        output_type="latent",
        **options,
    ).images
    return unpack(packed, SIDE // 2)


def first_noise() -> SampleNoise:
    return SampleNoise([1, 2], (4, SIDE, SIDE))


def own_latents(denoiser: Denoiser, condition: Tensor, steps: int) -> Tensor:
    """Sample the denoiser at the times that the pipeline takes: shifted k / steps, all on the grid."""
    with torch.no_grad():
        return few_step_ode(
            denoiser, first_noise(), condition, [1000 * k // steps - 1 for k in range(steps, 0, -1)]
        )


def t5_tokenizer() -> T5TokenizerFast:
    """A T5 tokenizer of a few words and all letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -3.0) for code in range(ord("!"), ord("~") + 1)]
    return T5TokenizerFast(vocab=[*special, *((f"▁{word}", -1.0) for word in WORDS), *letters], extra_ids=0)


def save_flux(folder: Path, guidance_embeds: bool = True) -> Path:
    """Write a FLUX.1 like dev, or like schnell without guidance, whose images of 16x16 pixels have 16 tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, two = tiny_tokenizer(), t5_tokenizer()
        t5 = T5Config(vocab_size=len(two), d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3)
        pipeline = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
            if guidance_embeds
            else FlowMatchEulerDiscreteScheduler(shift=1.0),
            tiny_vae(**VAE),
            CLIPTextModel(text_config(one, 16, "quick_gelu")),
            one,
            T5EncoderModel(t5),
            two,
            small_network((4, SIDE, SIDE), 32, (2, 2), 2, 12, 16, guidance_embeds),
        )
    pipeline.save_pretrained(folder)
    return folder
