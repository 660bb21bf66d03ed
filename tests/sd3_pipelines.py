"""A tiny Stable Diffusion 3 with random weights, in the folder format of the published ones."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from flux_networks import t5_tokenizer
from text_pipelines import LATENT_SIDE, text_config, tiny_tokenizer, tiny_vae
from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel

from bench.models.backbones.sd3 import small_network


def save_sd3(folder: Path) -> Path:
    """Write an SD3.5 with three text encoders, of 16, 24 and 48 numbers, whose images have 16x16 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        one, two, three = tiny_tokenizer(), tiny_tokenizer(pad="!"), t5_tokenizer()
        t5 = T5Config(vocab_size=len(three), d_model=48, d_kv=16, d_ff=32, num_layers=2, num_heads=3)
        pipeline = StableDiffusion3Pipeline(
            transformer=small_network((4, LATENT_SIDE, LATENT_SIDE), 32, 2, 2, 48, 16 + 24),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=tiny_vae(scaling_factor=1.5305, shift_factor=0.0609),
            text_encoder=CLIPTextModelWithProjection(text_config(one, 16, "quick_gelu")),
            tokenizer=one,
            text_encoder_2=CLIPTextModelWithProjection(text_config(two, 24, "gelu")),
            tokenizer_2=two,
            text_encoder_3=T5EncoderModel(t5),
            tokenizer_3=three,
        )
    pipeline.save_pretrained(folder)
    return folder
