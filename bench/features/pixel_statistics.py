"""Statistics of an image's pixels: saturation, sharpness and contrast. No network, no weights."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 256
"""Largest side at which images are looked at: larger squares are reduced to it by LANCZOS, smaller ones are not
enlarged, because an enlarged image is a smoother one."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of Rec. 601."""


def pixel_statistics(images: Tensor) -> Tensor:
    """Return saturation, sharpness and contrast of uint8 images [B, 3, H, W], H and W at least 3: [B, 3] float64.

    Saturation is HSV's, (max - min) / max of a pixel's three channels and 0 for black, averaged over the pixels:
    0 to 1. Sharpness is the population variance of the Laplacian of luma in grey levels of 0 to 255, with the
    kernel [0 1 0; 1 -4 1; 0 1 0] at all pixels but the border: squared grey levels. Contrast is the population
    standard deviation of luma, in grey levels.
    """
    pixels = images.double()
    largest, smallest = pixels.amax(dim=1), pixels.amin(dim=1)
    saturation = ((largest - smallest) / largest.clamp(min=1)).mean(dim=(1, 2))
    luma = torch.einsum("bchw,c->bhw", pixels, torch.tensor(LUMA, dtype=torch.float64))
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    laplacian = around - 4 * luma[:, 1:-1, 1:-1]
    sharpness = laplacian.flatten(1).var(dim=1, correction=0)
    return torch.stack([saturation, sharpness, luma.flatten(1).std(dim=1, correction=0)], dim=1)
