"""Images as PNG files, which are lossless."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image


def as_png(images: torch.Tensor) -> list[bytes]:
    """Return images [B, C, H, W] uint8 as PNG."""
    found = []
    for image in images.permute(0, 2, 3, 1).numpy():
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image.squeeze(-1) if image.shape[-1] == 1 else image)).save(
            out, format="PNG", compress_level=1
        )
        found.append(out.getvalue())
    return found


def from_png(content: bytes) -> np.ndarray:
    """Return the grey levels [H, W, C] of a PNG that `as_png` wrote."""
    return np.atleast_3d(np.array(Image.open(io.BytesIO(content), formats=("PNG",))))


def batch_of(pixels: Iterable[np.ndarray]) -> torch.Tensor:
    """Return images [B, C, H, W] of pixels [H, W, C] each.

    It is a new array: with the strides of a permuted one, networks compute grey images in another order.
    """
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in pixels]))
