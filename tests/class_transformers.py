"""Tiny networks of DiT and SiT: diffusers' pipeline, and the official form, written from the paper's formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor
from torch.nn import functional as F

CLASSES, HEADS, WIDTH, SIDE, PATCH = 1000, 2, 24, 8, 2


def official_weights(
    classes: int = CLASSES, width: int = WIDTH, layers: int = 3, side: int = SIDE, seed: int = 0
) -> dict[str, Tensor]:
    """Draw a network under the official names; no weight is 0, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "x_embedder.proj": (width, 4, PATCH, PATCH),
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
    }
    for i in range(layers):
        shapes |= {
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (4 * width, width),
            f"blocks.{i}.mlp.fc2": (width, 4 * width),
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
        }
    shapes |= {
        "final_layer.linear": (PATCH**2 * 8, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))

    state = {"pos_embed": positions(side // PATCH, width)[None]}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": normal(*shape), f"{name}.bias": normal(shape[0]) / math.sqrt(shape[0])}
    return state | {"y_embedder.embedding_table.weight": normal(classes + 1, width)}


def positions(side: int, width: int) -> Tensor:
    """Return the fixed positions [side^2, width]: sines and cosines of the column, then those of the row."""
    rates = 10000 ** -(torch.arange(width // 4).double() / (width // 4))
    angles = torch.arange(side).double()[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    columns, rows = axis[None].expand(side, -1, -1), axis[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], 2).flatten(0, 1).float()


def official_network(state: Mapping[str, Tensor], x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Run the network of the paper (Peebles and Xie, 2023, Fig. 3): x [B, 4, S, S], t [B] -> [B, 8, S, S]."""

    def linear(name: str, value: Tensor) -> Tensor:
        return F.linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def modulated(value: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        normal = F.layer_norm(value, value.shape[-1:], eps=1e-6)
        return normal * (1 + scale[:, None]) + shift[:, None]

    angles = t[:, None] * 10000 ** -(torch.arange(128) / 128)
    time = F.silu(linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], 1)))
    given = F.silu(linear("t_embedder.mlp.2", time) + state["y_embedder.embedding_table.weight"][labels])

    patches = F.conv2d(x, state["x_embedder.proj.weight"], state["x_embedder.proj.bias"], stride=PATCH)
    tokens = patches.flatten(2).transpose(1, 2) + state["pos_embed"]
    count, width = tokens.shape[1:]
    for i in range(sum(name.endswith("qkv.bias") for name in state)):
        shift, scale, gate, *mlp = linear(f"blocks.{i}.adaLN_modulation.1", given).chunk(6, 1)
        rows = linear(f"blocks.{i}.attn.qkv", modulated(tokens, shift, scale))
        q, k, v = rows.reshape(-1, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(width // HEADS)).softmax(-1)
        attended = (weights @ v).transpose(1, 2).flatten(2)
        tokens = tokens + gate[:, None] * linear(f"blocks.{i}.attn.proj", attended)
        hidden = F.gelu(linear(f"blocks.{i}.mlp.fc1", modulated(tokens, mlp[0], mlp[1])), approximate="tanh")
        tokens = tokens + mlp[2][:, None] * linear(f"blocks.{i}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", given).chunk(2, 1)
    rows = linear("final_layer.linear", modulated(tokens, shift, scale))
    side = math.isqrt(count)
    # The rows of a token are (row in the patch, column in the patch, channel).
    image = rows.reshape(-1, side, side, PATCH, PATCH, 8).permute(0, 5, 1, 3, 2, 4)
    return image.reshape(-1, 8, side * PATCH, side * PATCH)


def tiny_transformer(layers: int = 2, width: int = 16, classes: int = CLASSES) -> DiTTransformer2DModel:
    """Build diffusers' network with a learned variance, on latents of 8 x 8; its weights are random."""
    torch.manual_seed(0)
    return DiTTransformer2DModel(
        sample_size=SIDE,
        num_layers=layers,
        patch_size=PATCH,
        attention_head_dim=width // 2,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=classes,
    ).eval()


def tiny_vae() -> AutoencoderKL:
    """Build a VAE that halves the sides of images twice, with SD's scaling."""
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    ).eval()


def tiny_pipeline() -> DiTPipeline:
    """Build the stock pipeline with DiT's linear betas."""
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False)
    return DiTPipeline(tiny_transformer(), tiny_vae(), scheduler)
