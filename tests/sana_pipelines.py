"""Tiny SANA pipelines with random weights, the same each time, as the published ones are built."""

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

from bench.models.text.gemma import INSTRUCTION

SIDE = 32
"""Side of the images in pixels, the smallest that the stock pipelines take."""
LATENT_SHAPE = (4, 16, 16)
"""The tiny DC-AE's factor is 2."""
TOKENS, TEXT_WIDTH = 12, 8
PROMPTS = ["A red cat ", "a dog", "", "the shoe of a dog, " + "very " * 20]
"""Prompts for tests: with capitals and blanks, short, empty, and one that is too long."""


def gemma_tokenizer() -> GemmaTokenizer:
    """A tokenizer of Gemma's class with the words of the instruction and the prompts."""
    merges: dict[tuple[str, str], None] = {}
    for word in " ".join([INSTRUCTION, *PROMPTS]).split():
        for end in range(1, len(word)):
            merges[(word[:end], word[end])] = None
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = ["▁", "\n", *string.ascii_letters, *string.punctuation]
    symbols = [*special, *letters, *("".join(pair) for pair in merges)]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    return GemmaTokenizer(vocab=vocabulary, merges=list(merges), add_bos_token=True)


def tiny_gemma(tokenizer: GemmaTokenizer) -> Gemma2Model:
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
    )
    return Gemma2Model(config).eval()


def tiny_dcae() -> AutoencoderDC:
    """A DC-AE of factor 2 with four latent channels and SANA's scaling."""
    blocks = ("ResBlock", "EfficientViTBlock")
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        upsample_block_type="interpolate",
        downsample_block_type="stride_conv",
        scaling_factor=0.41407,
    ).eval()


def tiny_transformer(**options: Any) -> SanaTransformer2DModel:
    """Four blocks of width 8; SANA's linear self-attention, and cross-attention to the text."""
    latents = {"in_channels": 4, "out_channels": 4, "sample_size": 16}
    own = {"num_layers": 4, "num_attention_heads": 2, "attention_head_dim": 4}
    cross = {"num_cross_attention_heads": 2, "cross_attention_head_dim": 4, "cross_attention_dim": 8}
    return SanaTransformer2DModel(**latents | own | cross | {"caption_channels": TEXT_WIDTH} | options).eval()


def parts() -> dict[str, Any]:
    """What both kinds of pipelines share."""
    tokenizer = gemma_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": tiny_gemma(tokenizer), "vae": tiny_dcae()}


def tiny_sana() -> SanaPipeline:
    """A SANA with the scheduler that it is published with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
        pipeline = SanaPipeline(**parts(), transformer=tiny_transformer(), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_sprint() -> SanaSprintPipeline:
    """A SANA-Sprint, whose network takes a guidance scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = tiny_transformer(guidance_embeds=True, qk_norm="rms_norm_across_heads")
        pipeline = SanaSprintPipeline(**parts(), transformer=transformer, scheduler=SCMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
