"""Tiny text-to-image pipelines with random weights, in the folder format of the published ones."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

LATENT_SIDE = 8
SIDE = 16
"""Side of the images in pixels: the tiny VAE's factor is 2."""
WORDS = ("a", "photo", "of", "the", "red", "cat", "dog", "shoe")
PROMPTS = ["a photo of the red cat", "a dog", "", "the shoe of a dog, naïve & 3 times " + "very " * 90]
"""Prompts for tests: short, empty, and one longer than the 77 tokens."""
SCALED_LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The betas of Stable Diffusion and SDXL."""


def byte_letters() -> list[str]:
    """The letters in which byte-level BPE writes the 256 bytes, in CLIP's order: "!" is number 0."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def write_tokenizer(folder: Path, pad: str = "<|endoftext|>") -> None:
    """Write a CLIP tokenizer of a few words as the published ones are, vocab.json and merges.txt.

    `pad` is "!" for SDXL's second tokenizer.
    """
    letters = byte_letters()
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges[(parts[0], parts[1])] = None
            parts = [parts[0] + parts[1], *parts[2:]]
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: number for number, symbol in enumerate([*symbols, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | special))


def tiny_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """The tokenizer that `write_tokenizer` writes."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), pad)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def text_config(tokenizer: CLIPTokenizer, width: int, activation: str) -> CLIPTextConfig:
    """A CLIP text encoder of two layers; its projection is as wide as it is."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=len(tokenizer) - 2,
        eos_token_id=len(tokenizer) - 1,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_vae(channels: int = 4, **options: Any) -> AutoencoderKL:
    """A KL-VAE of factor 2 with so many latent channels."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=SIDE,
        **options,
    )


def taesd() -> AutoencoderTiny:
    """A TAESD of factor 2."""
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


def tiny_unet(sdxl: bool = False) -> UNet2DConditionModel:
    """The UNet of one of the two pipelines, two levels: mid block of 32 channels on a side of 4."""
    common = {"sample_size": LATENT_SIDE, "block_out_channels": (16, 32), "layers_per_block": 1}
    if not sdxl:
        return UNet2DConditionModel(
            **common,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
            cross_attention_dim=16,
            norm_num_groups=8,
        )
    return UNet2DConditionModel(
        **common,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=16 + 24,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
        norm_num_groups=8,
    )


def one_level_unet() -> UNet2DConditionModel:
    """A UNet with SDXL's conditions, 8 numbers a token and 8 pooled ones, and one transformer block a side."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(16,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=2,
        cross_attention_dim=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 + 6 * 8,
        norm_num_groups=8,
    )


def save_sd15(folder: Path, prediction: str = "epsilon") -> Path:
    """Write a Stable Diffusion 1.5 whose images have 16x16 pixels: weights are random, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = tiny_tokenizer()
        pipeline = StableDiffusionPipeline(
            vae=tiny_vae(),
            text_encoder=CLIPTextModel(text_config(tokenizer, 16, "quick_gelu")),
            tokenizer=tokenizer,
            unet=tiny_unet(),
            scheduler=PNDMScheduler(
                **SCALED_LINEAR,
                steps_offset=1,
                skip_prk_steps=True,
                set_alpha_to_one=False,
                prediction_type="epsilon" if prediction == "epsilon" else "v_prediction",
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    # As the published configuration is: it says no more than this, and other schedulers take it as theirs.
    config = folder / "scheduler" / "scheduler_config.json"
    held = json.loads(config.read_text())
    kept = {
        key: held[key] for key in held if key.startswith(("_class", "beta", "num_train", "trained", "prediction"))
    }
    options = {"steps_offset": 1, "skip_prk_steps": True, "set_alpha_to_one": False, "clip_sample": False}
    config.write_text(json.dumps(kept | options))
    return folder


def save_sdxl(folder: Path) -> Path:
    """Write an SDXL with two text encoders, of 16 and 24 numbers, whose images have 16x16 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one, two = tiny_tokenizer(), tiny_tokenizer(pad="!")
        pipeline = StableDiffusionXLPipeline(
            vae=tiny_vae(),
            text_encoder=CLIPTextModel(text_config(one, 16, "quick_gelu")),
            text_encoder_2=CLIPTextModelWithProjection(text_config(two, 24, "gelu")),
            tokenizer=one,
            tokenizer_2=two,
            unet=tiny_unet(sdxl=True),
            scheduler=EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1, timestep_spacing="leading"),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Standard normal numbers that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
