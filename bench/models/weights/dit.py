"""Read the official networks of DiT and SiT, `.pt` state dicts, as diffusers' DiTTransformer2DModel.

Both have the same names and shapes, so a file does not say which of the two it is. Names change; the rows of
queries, keys and values are split; the one embedder of time and class is copied into every block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import DiTTransformer2DModel
from torch import Tensor

from bench.core.errors import UserError, listed, with_fix
from bench.core.escape import printable
from bench.models.weights.compare import differences, without_prefixes
from bench.models.weights.state_dicts import fill, read_state_dict

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""The number of heads of the published networks S, B, L and XL, by their width: no weight's shape shows it."""
POSITIONS = "pos_embed"
"""The official name of the fixed embedding of positions, which diffusers computes."""
FIRST, LABELS, LAST = "x_embedder.proj.weight", "y_embedder.embedding_table.weight", "final_layer.linear.weight"


@dataclass(frozen=True)
class Entry:
    """One official tensor: the equal parts of its rows, and the names in diffusers that each part goes to."""

    official: str
    parts: tuple[tuple[str, ...], ...]


def _layer(official: str, *parts: tuple[str, ...]) -> Iterator[Entry]:
    for kind in ("weight", "bias"):
        yield Entry(f"{official}.{kind}", tuple(tuple(f"{name}.{kind}" for name in names) for names in parts))


def entries(layers: int) -> Iterator[Entry]:
    """Yield every official tensor of a network with so many blocks but the positions, in the official order."""
    blocks = [f"transformer_blocks.{i}" for i in range(layers)]

    def everywhere(name: str) -> tuple[str, ...]:
        return tuple(f"{block}.norm1.emb.{name}" for block in blocks)

    yield from _layer("x_embedder.proj", ("pos_embed.proj",))
    yield from _layer("t_embedder.mlp.0", everywhere("timestep_embedder.linear_1"))
    yield from _layer("t_embedder.mlp.2", everywhere("timestep_embedder.linear_2"))
    yield Entry(LABELS, (everywhere("class_embedder.embedding_table.weight"),))
    for i, block in enumerate(blocks):
        official = f"blocks.{i}"
        yield from _layer(f"{official}.attn.qkv", *((f"{block}.attn1.to_{x}",) for x in "qkv"))
        yield from _layer(f"{official}.attn.proj", (f"{block}.attn1.to_out.0",))
        yield from _layer(f"{official}.mlp.fc1", (f"{block}.ff.net.0.proj",))
        yield from _layer(f"{official}.mlp.fc2", (f"{block}.ff.net.2",))
        yield from _layer(f"{official}.adaLN_modulation.1", (f"{block}.norm1.linear",))
    yield from _layer("final_layer.linear", ("proj_out_2",))
    yield from _layer("final_layer.adaLN_modulation.1", ("proj_out_1",))


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Say whether tensors have the official names of DiT and SiT."""
    return FIRST in state and LABELS in state


def read_official(path: Path, heads: int | None = None) -> DiTTransformer2DModel:
    """Read an official file, float32, frozen, in evaluation mode; nothing in it is run.

    A training's checkpoint holds the averaged weights under `ema`. `heads`: the number of heads, for networks of
    other widths than the published ones. Raises UserError that names every tensor that is missing, unexpected or
    misshapen, and for positions that are not the fixed ones.
    """
    state = without_prefixes(read_state_dict(path), lambda name: name in (FIRST, POSITIONS, LABELS))
    if not is_official(state):
        raise UserError(
            f"{path} holds no network of DiT or SiT: there is no {FIRST}, only "
            f"{listed(printable(name)[:80] for name in state)}; fix: name another file"
        )
    try:
        network = _empty_network(state, heads)
        converted = _converted(state, network)
    except UserError as error:
        raise UserError(f"{path}: {with_fix(error, 'name a file as DiT or SiT publish it')}") from None
    fill(network, converted, str(path), "the network that its shapes describe")
    return network.eval().requires_grad_(False)


def _empty_network(state: Mapping[str, Tensor], heads: int | None) -> Any:
    """Build the network, without memory for its weights, whose sizes the shapes of an official file show."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        found = tuple(state[name].shape) if name in state else ()
        if len(found) != dimensions or 0 in found:
            raise UserError(f"not a network of DiT or SiT: {name} has the shape {list(found)}")
        return found

    width, channels, patch, _ = shape(FIRST, 4)
    rows, _ = shape(LAST, 2)
    classes, _ = shape(LABELS, 2)
    tokens = shape(POSITIONS, 3)[1]
    found = (re.match(r"blocks\.(\d{1,3})\.", name) for name in state)
    layers = len({one[1] for one in found if one})
    heads = heads or HEADS.get(width)
    if heads is None or width % heads:
        raise UserError(
            f"a network of width {width} is none of the published ones ({', '.join(map(str, HEADS))}), and its "
            "weights do not show its number of heads; fix: name a folder of diffusers"
        )
    with init_empty_weights():
        return DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            in_channels=channels,
            out_channels=max(1, rows // patch**2),
            num_layers=layers,
            sample_size=math.isqrt(tokens) * patch,
            patch_size=patch,
            num_embeds_ada_norm=max(1, classes - 1),  # the last is the null class
            norm_eps=1e-6,
        )


def _converted(official: Mapping[str, Tensor], network: DiTTransformer2DModel) -> dict[str, Tensor]:
    """Return the official tensors under diffusers' names, in memory of their own. Raises UserError."""
    ours = network.state_dict()
    known = list(entries(len(network.transformer_blocks)))
    positions = network.pos_embed.pos_embed
    expected = {POSITIONS: positions} | {
        entry.official: torch.cat([ours[names[0]] for names in entry.parts]) for entry in known
    }
    if wrong := differences(expected, official):
        raise UserError(f"not the network of DiT or SiT that it looks like: {wrong}")
    if not torch.allclose(official[POSITIONS].float(), positions, rtol=0, atol=1e-4):
        raise UserError(f"{POSITIONS} is not the fixed embedding of positions, and diffusers has no other")
    return {
        name: part.to(torch.float32, copy=True)
        for entry in known
        for names, part in zip(entry.parts, official[entry.official].chunk(len(entry.parts)), strict=True)
        for name in names
    }
