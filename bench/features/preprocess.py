"""What is done to images before a network sees them: crops, Pillow's LANCZOS, clean-fid's resize, patches.

Images are uint8 [B, 3, H, W]. Real photographs have sizes of their own: they pass one by one.
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
"""Side of the images that Inception sees, and of the patches of patch FID."""

SmallImages = Literal["squash", "error", "pad"]
"""What becomes of an image with a side shorter than the patch. squash: the whole image, later resized to the
patch's size without regard to its shape, as the official evaluation has it. error: refused. pad: black pixels
around it, as many on either side."""


def centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cut the middle of [..., H, W]; an odd pixel falls where torchvision's `center_crop` leaves it.

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
    """uint8 [3, H, W] -> RGB."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def lanczos(images: Tensor, side: int) -> Tensor:
    """Resize uint8 [B, 3, H, W] to `side` squared with Pillow's LANCZOS, and so to whole grey levels.

    On the CPU; images of that size come back as they are, as from Pillow.
    """
    if images.shape[-2:] == (side, side):
        return images
    resized = [np.asarray(to_pil(image).resize((side, side), Image.Resampling.LANCZOS)) for image in images.cpu()]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def square(images: Tensor, side: int) -> Tensor:
    """Centre crop, then LANCZOS: the transform of GigaGAN's and DMD2's COCO evaluations, uint8."""
    return lanczos(centre_square(images), side)


def clean_resize(images: Tensor, side: int = INCEPTION_SIDE) -> Tensor:
    """Resize [B, 3, H, W] in 0 ... 255 as clean-fid does: bicubic with antialias, clipped, not rounded; float32.

    Equal to clean-fid's resize (Pillow's, on float) to 3e-5 grey levels, on any device.
    Source: Parmar et al. 2022, arXiv:2104.11222.
    """
    # In float32 torch's filter weights would be 1e-5 off, and white noise 1e-2; float64 costs a tenth more.
    resized = F.interpolate(images.double(), (side, side), mode="bicubic", antialias=True)
    return resized.clamp_(0, 255).float()


class Patches(NamedTuple):
    """Centre patches, and how many of them are none because the image was too small."""

    images: Tensor
    """uint8 [B, 3, side, side]; under the rule `squash` a small image as it came."""
    fallbacks: int


def centre_patches(images: Tensor, small: SmallImages, side: int = INCEPTION_SIDE) -> Patches:
    """Cut one patch out of the middle of each image [B, 3, H, W], without resizing: what patch FID compares.

    Raises UserError for images smaller than the patch, unless a rule for `small` ones is chosen.
    """
    count, _, height, width = images.shape
    if min(height, width) >= side:
        return Patches(centre_crop(images, side, side), 0)
    if small == "error":
        raise UserError(
            f"an image of {width} x {height} pixels has no patch of {side} x {side}; "
            "leave it out, or choose the rule `squash` (as official) or `pad` for small images"
        )
    if small == "squash":
        return Patches(images, count)
    across, down = max(side - width, 0), max(side - height, 0)
    padded = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
    return Patches(centre_crop(padded, side, side), count)


class Squares:
    """One batch of images and its centre squares, each size made once: FID, CLIP and LPIPS share them."""

    def __init__(self, images: Tensor) -> None:
        """`images` are uint8 [B, 3, H, W]; they are kept with their channels last, as Pillow reads them."""
        self.images = images.contiguous(memory_format=torch.channels_last)
        self._made: dict[int, Tensor] = {}

    def __call__(self, side: int | None) -> Tensor:
        """The squares of `side` pixels, [B, 3, side, side]; for None the images as they are."""
        if side is None:
            return self.images
        if side not in self._made:
            self._made[side] = square(self.images, side)
        return self._made[side]
