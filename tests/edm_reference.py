"""EDM's ImageNet-64 network written a second time, from its description: functions over official names.

The tests compare the converted network with this one. Nothing here comes from `tasks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network: side of the images, channels and blocks of its levels, sides at which it attends."""

    side: int
    width: int
    mult: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    classes: int

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(side, channels), the finest first."""
        return [(self.side >> level, self.width * mult) for level, mult in enumerate(self.mult)]


SMALLEST = Sizes(side=16, width=128, mult=(1, 1), blocks=1, attention=(), classes=3)
"""The smallest network that diffusers represents exactly."""
VARIED = Sizes(side=16, width=128, mult=(1, 2, 2), blocks=1, attention=(8, 4), classes=5)
"""Every kind of block: levels that widen and that do not, with and without attention."""


# Weights


def random_weights(sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the official names, in the official order, none of them zero."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def linear(name: str, outputs: int, inputs: int, kernel: int = 0, bias: bool = True) -> None:
        window = (kernel, kernel) if kernel else ()
        state[f"{name}.weight"] = draw(outputs, inputs, *window) / math.sqrt(inputs * max(kernel, 1) ** 2)
        if bias:
            state[f"{name}.bias"] = 0.3 * draw(outputs)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = 1 + 0.3 * draw(channels)
        state[f"{name}.bias"] = 0.3 * draw(channels)

    def block(name: str, inputs: int, outputs: int, attends: bool = False, resamples: bool = False) -> None:
        norm(f"{name}.norm0", inputs)
        linear(f"{name}.conv0", outputs, inputs, 3)
        if resamples:
            state[f"{name}.conv0.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
        linear(f"{name}.affine", 2 * outputs, 4 * sizes.width)
        norm(f"{name}.norm1", outputs)
        linear(f"{name}.conv1", outputs, outputs, 3)
        if resamples:
            state[f"{name}.skip.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
        if inputs != outputs:
            linear(f"{name}.skip", outputs, inputs, 1)
        if attends:
            norm(f"{name}.norm2", outputs)
            linear(f"{name}.qkv", 3 * outputs, outputs, 1)
            linear(f"{name}.proj", outputs, outputs, 1)

    linear("model.map_layer0", 4 * sizes.width, sizes.width)
    linear("model.map_layer1", 4 * sizes.width, 4 * sizes.width)
    linear("model.map_label", 4 * sizes.width, sizes.classes, bias=False)
    channels, skips = 3, []
    for level, (side, width) in enumerate(sizes.levels):
        if level == 0:
            linear(f"model.enc.{side}x{side}_conv", width, 3, 3)
            channels = width
        else:
            block(f"model.enc.{side}x{side}_down", channels, channels, resamples=True)
        skips.append(channels)
        for i in range(sizes.blocks):
            block(f"model.enc.{side}x{side}_block{i}", channels, width, side in sizes.attention)
            channels = width
            skips.append(channels)
    for level, (side, width) in reversed(list(enumerate(sizes.levels))):
        if level == len(sizes.levels) - 1:
            block(f"model.dec.{side}x{side}_in0", channels, channels, attends=True)
            block(f"model.dec.{side}x{side}_in1", channels, channels)
        else:
            block(f"model.dec.{side}x{side}_up", channels, channels, resamples=True)
        for i in range(sizes.blocks + 1):
            block(f"model.dec.{side}x{side}_block{i}", channels + skips.pop(), width, side in sizes.attention)
            channels = width
    norm("model.out_norm", channels)
    linear("model.out_conv", 3, channels, 3)
    return state


# The network


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    groups = min(32, x.shape[1] // 4)
    return F.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)


def _conv(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _resample(x: Tensor, name: str) -> Tensor:
    if name.endswith("_down"):
        return F.avg_pool2d(x, 2)
    if name.endswith("_up"):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return x


def _attend(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Heads of 64 channels; row (head, channel, q|k|v) of the projection."""
    batch, channels, height, width = x.shape
    rows = _conv(state, f"{name}.qkv", _norm(state, f"{name}.norm2", x))
    q, k, v = rows.reshape(batch, channels // 64, 64, 3, height * width).unbind(3)
    weights = torch.einsum("bhcq,bhck->bhqk", q, k / 8).softmax(dim=-1)
    attended = torch.einsum("bhqk,bhck->bhcq", weights, v).reshape(x.shape)
    return x + _conv(state, f"{name}.proj", attended)


def _block(state: dict[str, Tensor], name: str, x: Tensor, emb: Tensor) -> Tensor:
    h = _conv(state, f"{name}.conv0", _resample(F.silu(_norm(state, f"{name}.norm0", x)), name))
    scale, shift = F.linear(emb, state[f"{name}.affine.weight"], state[f"{name}.affine.bias"]).chunk(2, dim=1)
    h = F.silu(_norm(state, f"{name}.norm1", h) * (1 + scale[..., None, None]) + shift[..., None, None])
    x = _resample(x, name)
    if f"{name}.skip.weight" in state:
        x = _conv(state, f"{name}.skip", x)
    x = x + _conv(state, f"{name}.conv1", h)
    return _attend(state, name, x) if f"{name}.qkv.weight" in state else x


def _embedding(state: dict[str, Tensor], noise: Tensor, labels: Tensor) -> Tensor:
    half = state["model.map_layer0.weight"].shape[1] // 2
    angles = noise[:, None] * 10000 ** (-torch.arange(half, dtype=noise.dtype) / half)
    emb = torch.cat([angles.cos(), angles.sin()], dim=1)
    emb = F.silu(F.linear(emb, state["model.map_layer0.weight"], state["model.map_layer0.bias"]))
    emb = F.linear(emb, state["model.map_layer1.weight"], state["model.map_layer1.bias"])
    one_hot = F.one_hot(labels, state["model.map_label.weight"].shape[1]).to(emb.dtype)
    return F.silu(emb + F.linear(one_hot, state["model.map_label.weight"]))


def run_network(
    sizes: Sizes, state: dict[str, Tensor], x: Tensor, noise: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The raw network: scaled images [B, 3, H, W], its noise input [B] -> (its output, its last encoder block)."""
    emb = _embedding(state, noise, labels)
    skips = []
    for level, (side, _) in enumerate(sizes.levels):
        here = f"model.enc.{side}x{side}"
        x = _block(state, f"{here}_down", x, emb) if level else _conv(state, f"{here}_conv", x)
        skips.append(x)
        for i in range(sizes.blocks):
            x = _block(state, f"{here}_block{i}", x, emb)
            skips.append(x)
    bottleneck = x
    for level, (side, _) in reversed(list(enumerate(sizes.levels))):
        here = f"model.dec.{side}x{side}"
        if level == len(sizes.levels) - 1:
            x = _block(state, f"{here}_in1", _block(state, f"{here}_in0", x, emb), emb)
        else:
            x = _block(state, f"{here}_up", x, emb)
        for i in range(sizes.blocks + 1):
            x = _block(state, f"{here}_block{i}", torch.cat([x, skips.pop()], dim=1), emb)
    return _conv(state, "model.out_conv", F.silu(_norm(state, "model.out_norm", x))), bottleneck


def denoise(
    sizes: Sizes, state: dict[str, Tensor], x: Tensor, sigma: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """EDM's denoiser, sigma_data 0.5: noisy images [B, 3, H, W], sigma [B], classes [B].

    Returns x0, the raw network's output, its last encoder block.
    """
    s = sigma.reshape(-1, 1, 1, 1)
    norm = (s**2 + 0.25).sqrt()
    output, bottleneck = run_network(sizes, state, x / norm, sigma.log() / 4, labels)
    return 0.25 / norm**2 * x + 0.5 * s / norm * output, output, bottleneck
