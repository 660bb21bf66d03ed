"""Convert state dicts between EDM's official form and diffusers': names, shapes and rows change, numbers do not.

Source: edm-diffusers, sections 2 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import UserError, listed
from bench.core.safe_pickle import shown
from bench.models.weights.compare import not_weights
from bench.models.weights.edm_unet import EPSILON, GROUPS, HEAD_CHANNELS, EDMNetwork, edm_unet

FILTER = "resample_filter"


@dataclass(frozen=True)
class Layout:
    """A conversion between one official tensor and the corresponding tensors of diffusers."""

    split: Callable[[Tensor], tuple[Tensor, ...]]
    join: Callable[[Sequence[Tensor]], Tensor]


def _split_qkv(rows: Tensor) -> tuple[Tensor, ...]:
    """Split official rows (head, channel, q|k|v), the last fastest: [3C, C, 1, 1] -> 3 [C, C], [3C] -> 3 [C]."""
    channels = len(rows) // 3
    by_head = rows.reshape(channels // HEAD_CHANNELS, HEAD_CHANNELS, 3, *rows.shape[1:2])
    return tuple(by_head[:, :, j].reshape(channels, *rows.shape[1:2]) for j in range(3))


def _join_qkv(parts: Sequence[Tensor]) -> Tensor:
    channels, inputs = len(parts[0]), parts[0].shape[1:]
    by_head = [part.reshape(channels // HEAD_CHANNELS, HEAD_CHANNELS, *inputs) for part in parts]
    rows = torch.stack(by_head, dim=2).reshape(3 * channels, *inputs)
    return rows[..., None, None] if inputs else rows


SAME = Layout(lambda x: (x,), lambda parts: parts[0])
TRANSPOSED = Layout(lambda x: (x.T.contiguous(),), lambda parts: parts[0].T.contiguous())
POINTWISE = Layout(lambda x: (x.flatten(1),), lambda parts: parts[0][..., None, None])
"""A 1x1 convolution that is a linear layer in diffusers."""
QKV = Layout(_split_qkv, _join_qkv)


@dataclass(frozen=True)
class Entry:
    """One official tensor: its name, its names in diffusers, and the layout between them."""

    official: str
    diffusers: tuple[str, ...]
    layout: Layout = SAME


def _layer(official: str, diffusers: str) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield Entry(f"{official}.{part}", (f"{diffusers}.{part}",))


def _block(
    official: str, resnet: str, attention: str | None = None, widens: bool = False, resamples: bool = False
) -> Iterator[Entry]:
    """Yield the tensors of one block; the filters of a block that resamples have no names in diffusers."""
    yield from _layer(f"{official}.norm0", f"{resnet}.norm1")
    yield from _layer(f"{official}.conv0", f"{resnet}.conv1")
    if resamples:
        yield Entry(f"{official}.conv0.{FILTER}", ())
    yield from _layer(f"{official}.affine", f"{resnet}.time_emb_proj")
    yield from _layer(f"{official}.norm1", f"{resnet}.norm2")
    yield from _layer(f"{official}.conv1", f"{resnet}.conv2")
    if resamples:
        yield Entry(f"{official}.skip.{FILTER}", ())
    if widens:
        yield from _layer(f"{official}.skip", f"{resnet}.conv_shortcut")
    if attention:
        yield from _layer(f"{official}.norm2", f"{attention}.group_norm")
        for part in ("weight", "bias"):
            yield Entry(f"{official}.qkv.{part}", tuple(f"{attention}.to_{x}.{part}" for x in "qkv"), QKV)
        yield Entry(f"{official}.proj.weight", (f"{attention}.to_out.0.weight",), POINTWISE)
        yield Entry(f"{official}.proj.bias", (f"{attention}.to_out.0.bias",))


def entries(network: EDMNetwork) -> Iterator[Entry]:
    """Yield every tensor of the official state dict, in its order. Level 0 is the finest."""
    channels, sides, levels = network.channels, network.sides, len(network.sides)
    yield from _layer("model.map_layer0", "time_embedding.linear_1")
    yield from _layer("model.map_layer1", "time_embedding.linear_2")
    yield Entry("model.map_label.weight", ("class_embedding.weight",), TRANSPOSED)
    for level, side in enumerate(sides):
        attends, here = side in network.attention_resolutions, f"model.enc.{side}x{side}"
        if level == 0:
            yield from _layer(f"{here}_conv", "conv_in")
        else:
            # Resampling belongs to the next level in EDM but to the previous block in diffusers.
            yield from _block(f"{here}_down", f"down_blocks.{level - 1}.downsamplers.0", resamples=True)
        for i in range(network.num_blocks):
            attention = f"down_blocks.{level}.attentions.{i}" if attends else None
            widens = i == 0 and channels[level] != channels[max(level - 1, 0)]
            yield from _block(f"{here}_block{i}", f"down_blocks.{level}.resnets.{i}", attention, widens)
    for level in reversed(range(levels)):
        side, up = sides[level], levels - 1 - level
        attends, here = side in network.attention_resolutions, f"model.dec.{side}x{side}"
        if up == 0:
            yield from _block(f"{here}_in0", "mid_block.resnets.0", "mid_block.attentions.0")
            yield from _block(f"{here}_in1", "mid_block.resnets.1")
        else:
            yield from _block(f"{here}_up", f"up_blocks.{up - 1}.upsamplers.0", resamples=True)
        for i in range(network.num_blocks + 1):
            attention = f"up_blocks.{up}.attentions.{i}" if attends else None
            yield from _block(f"{here}_block{i}", f"up_blocks.{up}.resnets.{i}", attention, widens=True)
    yield from _layer("model.out_norm", "conv_norm_out")
    yield from _layer("model.out_conv", "conv_out")


def official_shapes(network: EDMNetwork) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the official state dict, in its order."""
    with torch.device("meta"):
        ours = edm_unet(network).state_dict()
    return {
        entry.official: tuple(entry.layout.join([ours[name] for name in entry.diffusers]).shape)
        if entry.diffusers
        else (1, 1, 2, 2)
        for entry in entries(network)
    }


def infer_network(state: Mapping[str, Tensor]) -> EDMNetwork:
    """Read the sizes of an official state dict from its names and shapes.

    Raises UserError if it is of another family (EDM's DDPM++ and NCSN++ with `map_augment`, OpenAI's raw
    checkpoints), has no classes, or has no diffusers form. The rest is checked by `to_diffusers`.
    """
    for foreign, what in {
        "model.map_augment.weight": "EDM's CIFAR-10, FFHQ or AFHQ networks (it has model.map_augment)",
        "input_blocks.0.0.weight": "OpenAI's raw checkpoints; take the model in diffusers' format",
        "conv_in.weight": "diffusers' models; give the folder with its config.json",
    }.items():
        if foreign in state:
            raise UserError(f"not EDM's ImageNet-64 network but one of {what}")

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in state:
            raise UserError(f"not EDM's ImageNet-64 network: there is no {name}, only {_named(state)}")
        if state[name].ndim != dimensions or 0 in state[name].shape:
            raise UserError(f"not EDM's ImageNet-64 network: {name} has the shape {list(state[name].shape)}")
        return tuple(state[name].shape)

    model_channels = shape("model.map_layer0.weight", 2)[1]
    classes = shape("model.map_label.weight", 2)[1]
    image_channels = shape("model.out_conv.weight", 4)[0]
    blocks: dict[int, set[int]] = {}
    for name in state:
        if found := re.fullmatch(r"model\.enc\.(\d{1,5})x\1_block(\d{1,3})\.conv1\.weight", name):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    sides = sorted(blocks, reverse=True)
    if not sides or sides != [sides[0] >> level for level in range(len(sides))]:
        raise UserError(f"not EDM's ImageNet-64 network: it has levels of {sides} pixels")
    widths = [shape(f"model.enc.{side}x{side}_block0.conv1.weight", 4)[0] for side in sides]
    if any(width % model_channels for width in widths):
        raise UserError(f"its levels have {widths} channels, not multiples of model_channels, {model_channels}")
    return EDMNetwork(
        resolution=sides[0],
        model_channels=model_channels,
        channel_mult=tuple(width // model_channels for width in widths),
        num_blocks=max(len(found) for found in blocks.values()),
        attention_resolutions=frozenset(
            side for side in sides if f"model.enc.{side}x{side}_block0.qkv.weight" in state
        ),
        classes=classes,
        image_channels=image_channels,
    )


def to_diffusers(official: Mapping[str, Tensor], network: EDMNetwork) -> dict[str, Tensor]:
    """Convert an official state dict to diffusers' names, in float32.

    Tensors whose layout is the same are shared, not copied. Raises UserError with the keys that are
    missing, unexpected or misshapen, or if a resampling filter is not the 2x2 box that diffusers has.
    """
    expected = official_shapes(network)
    problems = []
    if missing := [name for name in expected if name not in official]:
        problems.append(f"{len(missing)} missing: {_named(missing)}")
    if unexpected := [name for name in official if name not in expected]:
        problems.append(f"{len(unexpected)} unexpected: {_named(unexpected)}")
    wrong = [name for name in expected if name in official and tuple(official[name].shape) != expected[name]]
    if wrong:
        shapes = [f"{name} {list(official[name].shape)}, not {list(expected[name])}" for name in wrong]
        problems.append(f"{len(wrong)} misshapen: {_named(shapes)}")
    if problems:
        raise UserError(f"not the weights of the EDM network they look like; {'; '.join(problems)}")
    converted: dict[str, Tensor] = {}
    for entry in entries(network):
        tensor = official[entry.official].detach()
        if problem := not_weights(tensor):
            raise UserError(f"{entry.official} does not hold weights ({problem})")
        if not entry.diffusers and not bool((tensor == 0.25).all()):
            raise UserError(f"{entry.official} is {tensor.flatten().tolist()}; diffusers has the 2x2 box, 0.25")
        if entry.diffusers:
            parts = entry.layout.split(tensor.to(torch.float32))
            converted.update(zip(entry.diffusers, parts, strict=True))
    return converted


def check_attributes(attributes: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check the attributes of an official pickle's modules, which the weights do not show.

    `attributes` are the plain values of each module by its path, `shapes` those of the official state dict.
    Raises UserError at the first value that differs from the diffusers network.
    """
    fixed = {
        "num_groups": GROUPS,
        "eps": EPSILON,
        "skip_scale": 1.0,
        "adaptive_scale": True,
        "endpoint": False,
        "max_positions": 10000,
        "sigma_data": 0.5,
    }
    for path, values in attributes.items():
        attended = shapes.get(f"{path}.proj.weight", (0,))[0]
        for name, expected in {**fixed, "num_heads": attended // HEAD_CHANNELS}.items():
            if name in values and values[name] != expected:
                raise UserError(f"{path}.{name} is {values[name]!r}; the diffusers network has {expected!r}")


def _named(names: Iterable[str]) -> str:
    """List the first few names, which may come from a hostile file."""
    return listed(shown(name) for name in names)
