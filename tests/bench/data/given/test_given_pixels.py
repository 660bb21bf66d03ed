"""An image is measured exactly as it is, or refused with what is wrong."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.core.errors import UserError
from bench.data.decoding import PNG_MAGIC, decode
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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(rows: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG of 8 rows, of which only some are there, with right checksums and its end."""
    header = struct.pack(">IIBBBBB", 6, 8, bits, colour, 0, 0, 0)
    wide = len(RGB[0].tobytes()) if colour == 2 else (6 * bits + 7) // 8
    pixels = b"".join(b"\0" + RGB[row].tobytes()[:wide] for row in range(rows))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels, 0)), chunk(b"IEND", b"")]
    return PNG_MAGIC + b"".join(parts)


def test_a_png_without_its_last_rows_is_refused_which_pillow_makes_black() -> None:
    assert np.array_equal(decode_exactly(png_of(8), SHAPE).levels, RGB.transpose(2, 0, 1))
    with pytest.raises(OddImageError, match=r"damaged or cut short \(it has 5 of 8 rows"):
        decode_exactly(png_of(5), SHAPE)
    with pytest.raises(UserError, match=r"a\.png cannot be decoded: it has 5 of 8 rows"):
        decode(png_of(5), "a.png")


def test_a_png_with_a_changed_byte_is_refused_which_exif_data_hid() -> None:
    """Reading a PNG's EXIF data loads the image, and swallowed the error; the pixels were other ones."""
    content = png_of(8)
    place = content.index(RGB[3].tobytes())
    changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    with pytest.raises(OddImageError, match=r"damaged or cut short .broken data stream"):
        decode_exactly(changed, SHAPE)
    with pytest.raises(UserError, match=r"a\.png cannot be decoded: broken data stream"):
        decode(changed, "a.png")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_fewer_bits_is_refused(bits: int) -> None:
    with pytest.raises(OddImageError, match=f"not of 8 bits .{bits} bits"):
        decode_exactly(png_of(8, bits, 0), (1, 8, 6))


def test_a_black_image_has_all_its_rows() -> None:
    for mode, shape in (("RGB", SHAPE), ("L", (1, 8, 6))):
        assert not decode_exactly(encoded(Image.new(mode, (6, 8))), shape).levels.any()
        for kind in (mode, "1", "P", "LA", "RGBA"):
            assert decode(encoded(Image.new(kind, (6, 8))), "a.png").image.size == (6, 8)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    with pytest.raises(OddImageError, match="animations"):
        decode_exactly(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), SHAPE)
