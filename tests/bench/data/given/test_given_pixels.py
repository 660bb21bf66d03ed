"""An image is measured exactly as it is, or refused with what is wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.given.pixels import OddImageError, decode_exactly

RGB = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
SHAPE = (3, 8, 6)


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def test_pixels_are_those_of_the_file() -> None:
    found = decode_exactly(encoded(Image.fromarray(RGB)), SHAPE)
    assert found.format == "PNG" and np.array_equal(found.levels, RGB.transpose(2, 0, 1))
    grey = decode_exactly(encoded(Image.fromarray(RGB[..., 0])), (1, 8, 6))
    assert np.array_equal(grey.levels[0], RGB[..., 0])
    assert decode_exactly(encoded(Image.fromarray(RGB), "JPEG"), SHAPE).format == "JPEG"
    assert not decode_exactly(encoded(Image.new("RGB", (6, 8))), SHAPE).levels.any(), "black is an image too"


@pytest.mark.parametrize(
    ("image", "kind", "detail"),
    [
        (Image.fromarray(RGB.transpose(1, 0, 2)), "of another size than 6x8", "8x6"),
        (Image.fromarray(RGB).convert("RGBA"), r"not of the mode RGB \(colour\)", "RGBA"),
        (Image.fromarray(RGB).convert("P"), r"not of the mode RGB \(colour\)", "P"),
        (Image.fromarray(RGB[..., 0]), r"not of the mode RGB \(colour\)", "L"),
        (Image.fromarray(RGB[..., 0].astype(np.uint16)), "not of 8 bits", "16 bits"),
    ],
    ids=["size", "alpha", "palette", "grey", "16 bit"],
)
def test_another_size_or_mode_is_refused(image: Image.Image, kind: str, detail: str) -> None:
    with pytest.raises(OddImageError, match=rf"{kind} \({detail}"):
        decode_exactly(encoded(image), SHAPE)


def test_transparency_without_an_alpha_channel_is_refused() -> None:
    with pytest.raises(OddImageError, match="RGB with transparency"):
        decode_exactly(encoded(Image.fromarray(RGB), transparency=(0, 0, 0)), SHAPE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_refused(kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(RGB), kind)
    with pytest.raises(OddImageError, match=r"damaged or cut short|no PNG, JPEG or WebP"):
        decode_exactly(whole[: int(share * len(whole))], SHAPE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_that_lacks_only_its_end_is_refused(kind: str) -> None:
    with pytest.raises(OddImageError, match="damaged or cut short"):
        decode_exactly(encoded(Image.fromarray(RGB), kind)[:-4], SHAPE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_viewers_turn_is_refused(kind: str) -> None:
    """A square one has the right size, and would be measured lying on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with pytest.raises(OddImageError, match="turned by EXIF data, which are not applied"):
        decode_exactly(encoded(Image.fromarray(RGB), kind, exif=exif), SHAPE)
    exif[ExifTags.Base.Orientation] = 1
    assert decode_exactly(encoded(Image.fromarray(RGB), kind, exif=exif), SHAPE).format == kind


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    with pytest.raises(OddImageError, match="animations"):
        decode_exactly(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), SHAPE)
