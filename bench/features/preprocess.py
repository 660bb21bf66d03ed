"""Preprocessing of images for feature networks: crops, Pillow's LANCZOS, clean-fid's resize, patches.

Images are uint8 [B, 3, H, W]. Real photographs differ in size, and pass one by one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import UserError

INCEPTION_SIDE = 299
"""Side of Inception's input, and of the patches of patch FID."""

SmallImages = Literal["squash", "error", "pad"]
"""The rule for an image with a side shorter than the patch. squash: the whole image is later resized to the
patch's size without regard to its shape, as in the official evaluation. error: the image is refused. pad: it gets
black pixels, as many on either side."""


def centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cut the middle of [..., H, W], with torchvision's rounding of `center_crop` for an odd pixel.

    Raises ValueError if the images are smaller.
    """
    spare = images.shape[-2] - height, images.shape[-1] - width
    if min(spare) < 0:
        raise ValueError(f"{list(images.shape[-2:])} is too small to be cropped to {[height, width]}")
    top, left = round(spare[0] / 2), round(spare[1] / 2)
    return images[..., top : top + height, left : left + width]


def centre_square(images: Tensor) -> Tensor:
    """Cut the longer side of [..., H, W] to the shorter one."""
    side = min(images.shape[-2:])
    return centre_crop(images, side, side)


def to_pil(image: Tensor) -> Image.Image:
    """Convert uint8 [3, H, W] to an RGB image."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def lanczos(images: Tensor, side: int) -> Tensor:
    """Resize uint8 [B, 3, H, W] to `side` squared with Pillow's LANCZOS, which rounds to whole grey levels.

    It runs on the CPU; images of that size are returned unchanged, as by Pillow.
    """
    return _resized(images, side, Image.Resampling.LANCZOS)


def bicubic(images: Tensor, side: int) -> Tensor:
    """Resize uint8 [B, 3, H, W] to `side` squared with Pillow's bicubic filter, in all as `lanczos`."""
    return _resized(images, side, Image.Resampling.BICUBIC)


def _resized(images: Tensor, side: int, rule: Image.Resampling) -> Tensor:
    if images.shape[-2:] == (side, side):
        return images
    resized = [np.asarray(to_pil(image).resize((side, side), rule)) for image in images.cpu()]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def square(images: Tensor, side: int) -> Tensor:
    """Cut the centre square and resize it by LANCZOS: the transform of GigaGAN's and DMD2's COCO evaluations."""
    return lanczos(centre_square(images), side)


def clean_resize(images: Tensor) -> Tensor:
    """Resize [B, 3, H, W] in 0 ... 255 to 299 pixels as clean-fid does: bicubic, clipped, not rounded; float32.

    Equal to clean-fid's resize (Pillow's, on float) to 3e-5 grey levels, on any device.
    Source: Parmar et al. 2022, arXiv:2104.11222.
    """
    # In float32 torch's filter weights would be 1e-5 off, and white noise 1e-2; float64 costs a tenth more.
    resized = F.interpolate(images.double(), (INCEPTION_SIDE,) * 2, mode="bicubic", antialias=True)
    return resized.clamp_(0, 255).float()


class Patches(NamedTuple):
    """Centre patches, and the number of images that were too small to have one."""

    images: Tensor
    """uint8 [B, 3, side, side]; under the rule `squash` a small image is unchanged."""
    fallbacks: int


def centre_patches(images: Tensor, small: SmallImages) -> Patches:
    """Cut one patch out of the middle of each image [B, 3, H, W], without resizing, for patch FID.

    Raises UserError for images smaller than the patch if `small` is `error`.
    """
    side, (count, _, height, width) = INCEPTION_SIDE, images.shape
    if min(height, width) >= side:
        return Patches(centre_crop(images, side, side), 0)
    if small == "error":
        raise UserError(
            f"an image of {width} x {height} pixels has no patch of {side} x {side}; "
            "fix: leave it out, or take the rule `squash` (as official) or `pad` for small images"
        )
    if small == "squash":
        return Patches(images, count)
    across, down = max(side - width, 0), max(side - height, 0)
    padded = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
    return Patches(centre_crop(padded, side, side), count)


class Squares:
    """The centre squares of one batch; each size is made once, and FID, CLIP and LPIPS share it."""

    def __init__(self, images: Tensor) -> None:
        """Take uint8 `images` [B, 3, H, W]; they are stored with their channels last, as Pillow reads them."""
        self.images = images.contiguous(memory_format=torch.channels_last)
        self._made: dict[int, Tensor] = {}

    def __call__(self, side: int | None) -> Tensor:
        """Return the squares of `side` pixels, [B, 3, side, side]; None returns the images unchanged."""
        if side is None:
            return self.images
        if side not in self._made:
            self._made[side] = square(self.images, side)
        return self._made[side]
