"""What a conversion to RGB loses is said of each image, and nothing is said of one that loses nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.altered import CMYK, ENLARGED, TRANSPARENT, TURNED, described_altered
from bench.data.decoding import decode

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8))
GREY = RGB.convert("L")


def altered(image: Image.Image, kind: str = "PNG", **settings: object) -> tuple[str, ...]:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return decode(file.getvalue(), "a.png").altered


def with_alpha(image: Image.Image, alpha: int) -> Image.Image:
    found = image.copy()
    found.putalpha(alpha)
    return found


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("image", [RGB, GREY], ids=["colour", "grey"])
def test_an_alpha_channel_is_a_loss_where_it_hides_something(image: Image.Image) -> None:
    assert altered(image) == ()
    assert altered(with_alpha(image, 255)) == ()
    assert altered(with_alpha(image, 254)) == (TRANSPARENT,)


def test_a_transparent_colour_without_an_alpha_channel_is_a_loss() -> None:
    palette = RGB.quantize(16)
    first = palette.getpixel((0, 0))
    assert altered(palette) == ()
    assert altered(palette, transparency=first) == (TRANSPARENT,)
    assert altered(RGB, transparency=RGB.getpixel((0, 0))) == (TRANSPARENT,)
    assert altered(GREY, transparency=GREY.getpixel((0, 0))) == (TRANSPARENT,)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_rotation_that_is_not_applied_is_a_loss(kind: str) -> None:
    assert altered(RGB, kind, exif=turned(1)) == ()
    assert altered(RGB, kind, exif=turned(6)) == (TURNED,)


def test_exif_data_that_cannot_be_read_turn_nothing() -> None:
    assert altered(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff") == ()


def test_cmyk_is_a_loss_and_two_losses_are_two() -> None:
    assert altered(RGB.convert("CMYK"), "JPEG") == (CMYK,)
    assert altered(RGB.convert("CMYK"), "JPEG", exif=turned(3)) == (TURNED, CMYK)


def test_counts_are_told_in_one_line_and_none_in_none() -> None:
    told = described_altered({TRANSPARENT: 1, ENLARGED: 1_200, CMYK: 0}, 5_000, "images")
    assert told == (
        "5,000 images: 1,200 smaller than the resolution and enlarged; 1 with transparency, which was dropped"
    )
    assert described_altered({ENLARGED: 0}, 5_000, "images") == ""
