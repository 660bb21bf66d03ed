"""The resizes that features depend on, on an image made by a formula, with the numbers of their packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.extras import optional_module
from bench.features.networks.inception_network import resize_tf1
from bench.features.preprocess import INCEPTION_SIDE, bicubic, clean_resize, square, to_pil

BYTES = 0.05
"""Tolerance of filters that round to bytes: a few pixels may be one level off, another filter is off by 5."""


@dataclass(frozen=True)
class KnownResize:
    """A resize of `formula_image(height, width)`, and the `fingerprint` that it must have."""

    case: str
    height: int
    width: int
    resize: Callable[[Tensor], Tensor]
    """From uint8 [1, 3, H, W] to [1, 3, side, side]."""
    expected: float
    source: str
    """The package and function that gave the number."""
    tolerance: float
    on_device: bool = False
    """Whether it runs on the device of the network, and not always on the CPU."""


def formula_image(height: int, width: int) -> Tensor:
    """Return uint8 [1, 3, H, W] of waves that grow finer towards a corner, made of whole numbers."""
    down, across = torch.arange(height)[:, None], torch.arange(width)[None]
    channels = [(down * down * (c + 3) // 8 + 7 * down * across // 4 + across * across) % 256 for c in range(3)]
    return torch.stack(channels)[None].to(torch.uint8)


def fingerprint(image: Tensor) -> float:
    """Return a number of an image [1, 3, H, W] in grey levels that another filter or another grid changes.

    It is the mean square of the differences between neighbours along each side, plus the mean of all pixels that a
    ramp weights, in float64.
    """
    pixels = image[0].double().cpu()
    down, across = pixels.diff(dim=1).square().mean(), pixels.diff(dim=2).square().mean()
    ramp = torch.linspace(0, 1, pixels.shape[1], dtype=torch.float64)[:, None]
    ramp = ramp + 2 * torch.linspace(0, 1, pixels.shape[2], dtype=torch.float64)
    return float(down + across + (pixels * ramp).mean())


def open_clip_square(images: Tensor) -> Tensor:
    """Resize as open_clip's transform of 224 pixels, back in grey levels. Raises UserError without the package."""
    open_clip = optional_module("open_clip", "a CLIP score", "text")
    mean, std = (
        torch.tensor(values).reshape(3, 1, 1)
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    seen: Tensor = open_clip.image_transform(224, is_train=False)(to_pil(images[0]))
    return ((seen * std + mean) * 255)[None]


def torchvision_bicubic(images: Tensor) -> Tensor:
    """Resize the shorter side to 224 pixels as HPS does. Raises UserError without torchvision."""
    transforms = optional_module("torchvision.transforms", "HPS", "text")
    resize = transforms.Resize(224, transforms.InterpolationMode.BICUBIC, antialias=True)
    seen: Tensor = resize(images[0].float())
    return seen[None]


def _tf1(images: Tensor) -> Tensor:
    return resize_tf1(images.float(), INCEPTION_SIDE)


KNOWN_RESIZES = (
    KnownResize(
        *("clean-fid's bicubic, smaller", 512, 640, clean_resize, 3521.0542145825348),
        *("clean-fid 0.1.35, make_resizer", 2e-5, True),
    ),
    KnownResize(
        *("clean-fid's bicubic, larger", 64, 48, clean_resize, 950.0737739114719),
        *("clean-fid 0.1.35, make_resizer", 2e-5, True),
    ),
    KnownResize(
        *("TensorFlow 1's bilinear, smaller", 512, 640, _tf1, 9863.773061513995),
        *("torch-fidelity 0.3, interpolate_bilinear_2d_like_tensorflow1x", 1e-3, True),
    ),
    KnownResize(
        *("TensorFlow 1's bilinear, larger", 64, 48, _tf1, 652.4116647316047),
        *("torch-fidelity 0.3, interpolate_bilinear_2d_like_tensorflow1x", 1e-3, True),
    ),
    KnownResize(
        *("Pillow's LANCZOS of centre squares", 512, 640, lambda images: square(images, 256), 4045.469858346578),
        *("Pillow 12.3", BYTES),
    ),
    KnownResize(
        *("Pillow's bicubic, for DINOv2", 512, 640, lambda images: bicubic(images, 224), 2045.1259212713253),
        *("Pillow 12.3", BYTES),
    ),
    KnownResize(
        *("open_clip's bicubic", 512, 640, open_clip_square, 2529.0088453963426),
        *("Pillow 12.3, centre square of 224 pixels", BYTES),
    ),
    KnownResize(
        *("torchvision's bicubic, for HPS", 512, 640, torchvision_bicubic, 2516.7410685508203),
        *("Pillow 12.3, on floats", BYTES),
    ),
)
"""Every resize of the built-in extractors. tests/bench/features/test_known_resizes.py asks the packages again."""
