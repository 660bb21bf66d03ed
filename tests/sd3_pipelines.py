"""A tiny Stable Diffusion 3.5 with random weights, in the folder format of the published ones and in one file."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from flux_networks import t5_tokenizer
from text_pipelines import text_config, tiny_tokenizer, tiny_vae
from torch import Tensor
from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel

from bench.models.samplers import SampleNoise

SIDE, RESOLUTION = 8, 16
CHANNELS = 16
WIDTH = 48
"""The size of T5's embeddings; those of the two CLIP models have 16 and 24 numbers."""


def tiny_transformer() -> SD3Transformer2DModel:
    """Two blocks, the first with the second attention of SD3.5 Medium."""
    return SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=16 + 24,
        pos_embed_max_size=6,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )


def save_sd3(folder: Path, t5: bool = True, **scheduler: object) -> Path:
    """Write an SD3.5 whose images have 16x16 pixels: weights are random, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, two, three = tiny_tokenizer(), tiny_tokenizer(pad="!"), t5_tokenizer()
        config = T5Config(vocab_size=len(three), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=2)
        pipeline = StableDiffusion3Pipeline(
            transformer=tiny_transformer(),
            scheduler=FlowMatchEulerDiscreteScheduler(**({"shift": 3.0} | scheduler)),
            vae=tiny_vae(
                CHANNELS,
                scaling_factor=1.5305,
                shift_factor=0.0609,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            text_encoder=CLIPTextModelWithProjection(text_config(one, 16, "quick_gelu")),
            tokenizer=one,
            text_encoder_2=CLIPTextModelWithProjection(text_config(two, 24, "gelu")),
            tokenizer_2=two,
            text_encoder_3=T5EncoderModel(config) if t5 else None,
            tokenizer_3=three if t5 else None,
        )
    pipeline.save_pretrained(folder)
    return folder


def stock(folder: Path, t5: bool = True) -> StableDiffusion3Pipeline:
    """Diffusers' own pipeline of a folder."""
    parts = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def first_noise() -> SampleNoise:
    return SampleNoise([1, 2], (CHANNELS, SIDE, SIDE))


def stock_images(
    pipeline: StableDiffusion3Pipeline, prompts: list[str], output_type: str = "pt", **options: object
) -> Tensor:
    """Sample the pipeline from `first_noise`."""
    size = {"height": RESOLUTION, "width": RESOLUTION}
    return pipeline(prompts, latents=first_noise().draw(), output_type=output_type, **size, **options).images


def original_network(network: SD3Transformer2DModel) -> dict[str, Tensor]:
    """The network's weights with the names and the fused layers of the original checkpoints."""
    state, found = network.state_dict(), dict[str, Tensor]()

    def take(name: str, *layers: str, swapped: bool = False) -> None:
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{layer}.{kind}") for layer in layers if f"{layer}.{kind}" in state]
            if parts:
                whole = torch.cat(parts)
                found[f"{name}.{kind}"] = torch.cat(whole.chunk(2)[::-1]) if swapped else whole

    found["pos_embed"] = state.pop("pos_embed.pos_embed")
    for name, layer in {
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
        "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
        "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
        "context_embedder": "context_embedder",
        "final_layer.linear": "proj_out",
    }.items():
        take(name, layer)
    take("final_layer.adaLN_modulation.1", "norm_out.linear", swapped=True)
    last = len(network.transformer_blocks) - 1
    for i in range(last + 1):
        block, x, context = (f"{one}.{i}" for one in ("transformer_blocks", "joint_blocks", "joint_blocks"))
        x, context = f"{x}.x_block", f"{context}.context_block"
        for attention in ("attn", "attn2"):
            own = f"{block}.{attention}"
            take(f"{x}.{attention}.qkv", *(f"{own}.to_{one}" for one in "qkv"))
            take(f"{x}.{attention}.ln_q", f"{own}.norm_q")
            take(f"{x}.{attention}.ln_k", f"{own}.norm_k")
            take(f"{x}.{attention}.proj", f"{own}.to_out.0")
        take(f"{context}.attn.qkv", *(f"{block}.attn.add_{one}_proj" for one in "qkv"))
        take(f"{context}.attn.ln_q", f"{block}.attn.norm_added_q")
        take(f"{context}.attn.ln_k", f"{block}.attn.norm_added_k")
        take(f"{context}.attn.proj", f"{block}.attn.to_add_out")
        take(f"{x}.adaLN_modulation.1", f"{block}.norm1.linear")
        take(f"{context}.adaLN_modulation.1", f"{block}.norm1_context.linear", swapped=i == last)
        for place, layer in ((x, "ff"), (context, "ff_context")):
            take(f"{place}.mlp.fc1", f"{block}.{layer}.net.0.proj")
            take(f"{place}.mlp.fc2", f"{block}.{layer}.net.2")
    assert not state, list(state)
    return {name: value.contiguous() for name, value in found.items()}
