"""Pipelines as one file: the names that Stable Diffusion's and SDXL's original checkpoints have."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(folder: Path, path: Path) -> None:
    """Write the pipeline of a diffusers folder, SD1.5 or SDXL, as one original checkpoint."""
    sdxl = (folder / "text_encoder_2").is_dir()
    kind = StableDiffusionXLPipeline if sdxl else StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    layers = pipeline.unet.config.layers_per_block
    state = {f"model.diffusion_model.{unet_name(n, layers)}": v for n, v in weights(pipeline.unet)}
    named = list(state)
    for name in [name for name in named if ".UP." in name]:  # comes after what its block has
        attends = any(other.startswith(f"{name.partition('.UP.')[0]}.1.") for other in named)
        state[name.replace(".UP.", ".2." if attends else ".1.")] = state.pop(name)
    blocks = len(pipeline.vae.config.block_out_channels)
    for name, value in weights(pipeline.vae):
        new = vae_name(name, blocks)
        # The original attention is made of 1x1 convolutions.
        is_map = ".attn_1." in new and value.ndim == 2
        state[f"first_stage_model.{new}"] = value[:, :, None, None] if is_map else value
    first = "conditioner.embedders.0.transformer" if sdxl else "cond_stage_model.transformer"
    for name, value in weights(pipeline.text_encoder):
        state[f"{first}.text_model.{name.removeprefix('text_model.')}"] = value
    if sdxl:
        second = open_clip(dict(weights(pipeline.text_encoder_2)))
        state |= {f"conditioner.embedders.1.model.{name}": value for name, value in second.items()}
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)


def weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    return list(module.state_dict().items())


def unet_name(name: str, layers: int) -> str:
    """diffusers' name of a UNet's weight -> the original's; every block there is numbered through."""
    for ours, original in UNET.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original)
    for ours, original in RESNET.items():
        name = re.sub(rf"(resnets\.\d+)\.{ours}\.", rf"\1.{original}.", name)
    if found := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name):
        side, block, part, layer, rest = found.groups()
        number = int(block) * (layers + 1) + int(layer) + (side == "down")
        return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(part == 'attentions')}.{rest}"
    if found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)", name):
        return f"input_blocks.{(int(found[1]) + 1) * (layers + 1)}.0.op.{found[2]}"
    if found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.*)", name):
        number = int(found[1]) * (layers + 1) + layers
        return f"output_blocks.{number}.UP.conv.{found[2]}"
    found = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    assert found, name
    return f"middle_block.{1 if found[1] == 'attentions' else 2 * int(found[2])}.{found[3]}"


def vae_name(name: str, blocks: int) -> str:
    """diffusers' name of a VAE's weight -> the original's, whose decoder counts its blocks backwards."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    for block in range(blocks):
        name = re.sub(rf"up_blocks\.{block}\.resnets\.(\d+)", rf"up.{blocks - 1 - block}.block.\1", name)
        name = name.replace(f"up_blocks.{block}.upsamplers.0", f"up.{blocks - 1 - block}.upsample")
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    for ours, original in VAE_ATTENTION.items():
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{original}.")
    return name


def open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' CLIP text weights with a projection -> open_clip's: query, key and value in one matrix."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        name = name.removeprefix("text_model.").replace("encoder.layers.", "transformer.resblocks.")
        for ours, original in {
            "layer_norm1": "ln_1",
            "layer_norm2": "ln_2",
            "mlp.fc1": "mlp.c_fc",
            "mlp.fc2": "mlp.c_proj",
            "self_attn": "attn",
            "final_layer_norm": "ln_final",
            "embeddings.token_embedding": "token_embedding",
            "embeddings.position_embedding.weight": "positional_embedding",
        }.items():
            name = name.replace(ours, original)
        renamed[name] = value
    renamed["text_projection"] = renamed.pop("text_projection.weight").T
    for name in [name for name in renamed if ".q_proj." in name]:
        parts = [renamed.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        renamed[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return renamed
