"""Tiny PixArt pipelines with random weights, the same each time, as the published ones are built."""

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from text_pipelines import tiny_vae
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

SIDE = 16
"""Side of the images in pixels."""
LATENT_SHAPE = (4, 8, 8)
"""The tiny VAE's factor is 2."""
TEXT_WIDTH = 32
PROMPTS = ["A red cat ", "a dog", "", "the shoe of a dog, " + "very " * 90]
"""Prompts for tests: with capitals and blanks, short, empty, and one that is too long."""


def t5_tokenizer() -> T5TokenizerFast:
    """A tokenizer of T5's class whose tokens are letters."""
    symbols = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, *string.punctuation]
    return T5TokenizerFast(vocab=[(symbol, -1.0) for symbol in symbols], extra_ids=0)


def tiny_t5(tokenizer: T5TokenizerFast) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    return T5EncoderModel(config).eval()


def tiny_transformer(**options: Any) -> PixArtTransformer2DModel:
    """Four blocks of width 24 with patches of 2, which predict epsilon and a variance."""
    latents = {"in_channels": 4, "out_channels": 8, "sample_size": 8, "patch_size": 2}
    own = {"num_layers": 4, "num_attention_heads": 3, "attention_head_dim": 8, "cross_attention_dim": 24}
    return PixArtTransformer2DModel(**latents | own | {"caption_channels": TEXT_WIDTH} | options).eval()


def tiny_pixart(kind: Any = PixArtSigmaPipeline, **options: Any) -> PixArtAlphaPipeline | PixArtSigmaPipeline:
    """A PixArt with the scheduler that it is published with; `options` are its network's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = t5_tokenizer()
        pipeline = kind(
            tokenizer=tokenizer,
            text_encoder=tiny_t5(tokenizer),
            vae=tiny_vae(),
            transformer=tiny_transformer(**options),
            scheduler=DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear"),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
