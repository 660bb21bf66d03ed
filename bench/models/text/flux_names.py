"""The names of FLUX.1's layers in Black Forest Labs' own files, which most LoRAs and tools for it use too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bench.models.text.lora_files import ALPHA, DOWN, UP, layer_name, part_of
from bench.models.weights.compare import without_prefixes

DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
}
"""Layers of a block of two streams; a fused one is several of diffusers', one below the other."""
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
    "modulation.lin": ("norm.linear",),
}
"""Layers of a block of one stream."""
OUTSIDE = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    **{
        f"{original}.{side}_layer": (f"time_text_embed.{embedder}.linear_{number}",)
        for original, embedder in (
            ("time_in", "timestep_embedder"),
            ("vector_in", "text_embedder"),
            ("guidance_in", "guidance_embedder"),
        )
        for side, number in (("in", 1), ("out", 2))
    },
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
"""Layers outside the blocks."""
NAMES = {"down": DOWN, "up": UP, ALPHA: ALPHA}
"""The names of a layer's parts in a LoRA, by what they are."""
SWAPPED = "norm_out.linear"
"""The layer whose two halves, scale and shift, diffusers has in the other order."""


def diffusers_weights(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and split an original file's weights as those of `network`, a state dict of diffusers'.

    A tensor with an unknown name keeps it, and is later reported as unexpected.
    """
    layers = original_layers(network)
    found: dict[str, Tensor] = {}
    for name, value in without_prefixes(state, lambda name: name.rpartition(".")[0] in layers).items():
        original, _, kind = name.rpartition(".")
        kind = "weight" if kind == "scale" else kind  # of a normalisation
        rows = _rows(network, layers.get(original, ()), kind)
        parts = {f"{layer}.{kind}": part for layer, part in split_rows(value, rows).items()}
        found |= parts if parts and not parts.keys() & found.keys() else {name: value}
    return found


def diffusers_lora(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and split a LoRA's tensors as one of `network`, a state dict of diffusers'.

    The parts of a fused layer share its down and its alpha. Tensors with other names keep them.
    """
    layers = original_layers(network)
    layers |= {name.replace(".", "_"): parts for name, parts in layers.items()}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        named, kind = part_of(name)
        rows = _rows(network, layers.get(layer_name(named), ()), "weight")
        parts = split_rows(value, rows) if kind == "up" else dict.fromkeys(rows, value)
        renamed = {f"{layer}.{NAMES[kind]}": part for layer, part in parts.items()} if kind else {}
        found |= renamed if renamed and not renamed.keys() & found.keys() else {name: value}
    return found


def original_layers(network: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return diffusers' layers by their original names; `network` has the names of its tensors in diffusers."""
    found: dict[str, tuple[str, ...]] = dict(OUTSIDE)
    blocks = {match[0] for name in network if (match := re.match(r"(single_)?transformer_blocks\.\d+", name))}
    for block in blocks:
        kind, _, number = block.partition(".")
        place, layers = ("single_blocks", SINGLE) if kind.startswith("single") else ("double_blocks", DOUBLE)
        for original, parts in layers.items():
            found[f"{place}.{number}.{original}"] = tuple(f"{block}.{part}" for part in parts)
    return found


def split_rows(value: Tensor, rows: Mapping[str, int]) -> dict[str, Tensor]:
    """Split an original layer's weight, bias or up of a LoRA, [O, ...], between layers with so many `rows`.

    One of another height goes whole to the first of the layers, where it is found to be misshapen.
    """
    if value.ndim == 0 or len(value) != sum(rows.values()):
        return dict.fromkeys(list(rows)[:1], value)
    if SWAPPED in rows:
        return {SWAPPED: torch.cat(value.chunk(2)[::-1])}
    return dict(zip(rows, value.split(list(rows.values())), strict=True))


def _rows(network: Mapping[str, Tensor], layers: Iterable[str], kind: str) -> dict[str, int]:
    """Return the outputs of those of these layers that the network has."""
    return {layer: len(network[f"{layer}.{kind}"]) for layer in layers if f"{layer}.{kind}" in network}
