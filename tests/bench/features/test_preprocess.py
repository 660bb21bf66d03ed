"""Crops, resizes and patches against torchvision, Pillow and clean-fid."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.core.errors import UserError
from bench.features.preprocess import (
    Squares,
    centre_crop,
    centre_patches,
    centre_square,
    clean_resize,
    lanczos,
    square,
)


def random_images(height: int, width: int, count: int = 1) -> Tensor:
    rng = np.random.default_rng(height * 1000 + width)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("height", "width", "crop"), [(8, 8, 8), (9, 8, 8), (10, 13, 5), (11, 12, 4), (480, 641, 299)]
)
def test_the_crop_is_torchvisions(height: int, width: int, crop: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = random_images(height, width)
    assert torch.equal(centre_crop(images, crop, crop), functional.center_crop(images, crop))


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[5, 9\] is too small to be cropped to \[6, 6\]"):
        centre_crop(random_images(5, 9), 6, 6)


@pytest.mark.parametrize(("height", "width"), [(30, 47), (47, 30), (31, 31)])
def test_the_square_has_the_shorter_side(height: int, width: int) -> None:
    side = min(height, width)
    assert centre_square(random_images(height, width)).shape == (1, 3, side, side)


@pytest.mark.parametrize(("height", "width", "side"), [(64, 64, 16), (70, 101, 64), (20, 33, 45), (24, 24, 24)])
def test_lanczos_is_pillows_to_the_bit(height: int, width: int, side: int) -> None:
    images = random_images(height, width, count=2)
    expected = [
        np.asarray(pillow(image).resize((side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        for image in images
    ]
    assert torch.equal(lanczos(images, side), torch.from_numpy(np.stack(expected)))


def test_the_official_transform_crops_before_it_resizes() -> None:
    """Centre crop of torchvision on the shorter side, then Pillow's LANCZOS."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = random_images(57, 90)
    cropped = functional.center_crop(pillow(images[0]), 57)
    expected = np.asarray(cropped.resize((32, 32), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert torch.equal(square(images, 32)[0], torch.from_numpy(expected.copy()))


@pytest.mark.parametrize(
    ("height", "width"), [(256, 256), (512, 512), (64, 64), (299, 299), (480, 640), (333, 200), (1024, 1024)]
)
def test_the_clean_resize_is_clean_fids(height: int, width: int) -> None:
    build = pytest.importorskip("cleanfid.resize").build_resizer
    images = random_images(height, width)
    expected = build("clean")(images[0].permute(1, 2, 0).numpy())
    ours = clean_resize(images)[0].permute(1, 2, 0).numpy()
    assert ours.dtype == expected.dtype == np.float32
    assert np.abs(ours - expected).max() < 3e-5
    assert ours.min() >= 0 and ours.max() <= 255


def test_the_clean_resize_clips_overshoot() -> None:
    """Bicubic overshoots at an edge between black and white; clean-fid clips it."""
    edge = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    edge[..., 20:] = 255
    resized = clean_resize(edge)
    assert resized.min() == 0 and resized.max() == 255


# Patches


@pytest.mark.parametrize("small", ["squash", "error", "pad"])
def test_a_large_image_gives_its_centre_whatever_the_rule(small: Literal["squash", "error", "pad"]) -> None:
    images = random_images(301, 640, count=2)
    patches = centre_patches(images, small)
    assert torch.equal(patches.images, images[:, :, 1:300, 170:469])
    assert patches.fallbacks == 0


@pytest.mark.parametrize(("height", "width"), [(298, 640), (640, 298), (100, 50)])
def test_a_small_image_goes_whole_into_the_resize_as_in_the_official_code(height: int, width: int) -> None:
    images = random_images(height, width, count=2)
    patches = centre_patches(images, "squash")
    assert torch.equal(patches.images, images)
    assert patches.fallbacks == 2


def test_a_small_image_can_be_refused() -> None:
    with pytest.raises(UserError, match=r"an image of 640 x 298 pixels has no patch of 299 x 299.*`squash`"):
        centre_patches(random_images(298, 640), "error")


@pytest.mark.parametrize(("height", "width"), [(298, 640), (640, 298), (100, 51), (299, 4)])
def test_a_small_image_can_be_padded_with_black_as_torchvisions_crop_does(height: int, width: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = random_images(height, width)
    patches = centre_patches(images, "pad")
    assert torch.equal(patches.images, functional.center_crop(images, 299))
    assert patches.fallbacks == 1


# One batch for several networks


def test_squares_are_made_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.features import preprocess

    made: list[int] = []

    def spy(images: Tensor, side: int) -> Tensor:
        made.append(side)
        return square(images, side)

    monkeypatch.setattr(preprocess, "square", spy)
    images = random_images(40, 60)
    squares = Squares(images)
    for side in (16, 32, 16, 32):
        assert torch.equal(squares(side), square(images, side))
    assert made == [16, 32]
    assert torch.equal(squares(None), images)
