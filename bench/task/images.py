"""Conversion of images between uint8 and the networks' range of -1 ... 1."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.task.protocol import UInt8Rule


def to_unit_range(images: Tensor) -> Tensor:
    """Convert uint8 in 0 ... 255 to float32 in -1 ... 1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor, rule: UInt8Rule = "round") -> Tensor:
    """Convert float in -1 ... 1 to uint8 by a protocol's rule, clipped, in the dtype of `images`.

    edm: the whole part of x * 127.5 + 128 (EDM's generate.py). truncate: the whole part of (x + 1) * 127.5 (DMD2's
    scripts). Both are the official expressions, to the bit. round: x * 127.5 + 127.5 to the nearest grey level,
    half to even, which is edm's but for pixels within a rounding error of the border of two levels.
    """
    if rule == "round":
        levels = (images * 127.5 + 127.5).round()
    else:
        levels = images * 127.5 + 128 if rule == "edm" else (images + 1) * 127.5
    return levels.clamp(0, 255).to(torch.uint8)
