"""Crop rules against explicit sizes and closed forms; conversion to RGB; damaged images."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from bench.core.errors import UserError
from bench.data.decoding import CROPS, PNG_MAGIC, CropRule, adm, decode, edm

BOX, BICUBIC, LANCZOS = Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


@pytest.fixture(scope="module")
def china() -> np.ndarray:
    """A photograph [427, 640, 3]."""
    return load_sample_image("china.jpg")


def test_edm_cuts_the_centre_square_and_resizes_with_lanczos(china: np.ndarray) -> None:
    # (640 - 427) // 2 = 106 columns go on the left, 107 on the right.
    expected = Image.fromarray(china[:, 106:533]).resize((64, 64), LANCZOS)
    assert np.array_equal(edm(Image.fromarray(china), 64), expected)
    tall = china.transpose(1, 0, 2)
    expected = Image.fromarray(tall[106:533]).resize((64, 64), LANCZOS)
    assert np.array_equal(edm(Image.fromarray(tall), 64), expected)


def test_adm_halves_with_box_then_resizes_with_bicubic_then_cuts_the_centre(china: np.ndarray) -> None:
    halved = Image.fromarray(china).resize((320, 213), BOX).resize((160, 106), BOX)  # 106 < 2 * 64: no more
    whole = np.asarray(halved.resize((97, 64), BICUBIC))  # 160 * 64 / 106 = 96.6
    assert np.array_equal(adm(Image.fromarray(china), 64), whole[:, 16:80])


def test_adm_of_a_power_of_two_is_means_of_two_rounded_up(china: np.ndarray) -> None:
    wide = china[:128, :256].astype(int)
    across = (wide[:, ::2] + wide[:, 1::2] + 1) // 2
    means = (across[::2] + across[1::2] + 1) // 2
    assert np.array_equal(adm(Image.fromarray(china[:128, :256]), 64), means[:, 32:96])


@pytest.mark.parametrize("rule", CROPS.values())
def test_an_image_of_the_right_size_stays_what_it_is_and_a_smaller_one_grows(
    rule: CropRule, china: np.ndarray
) -> None:
    exact = china[100:164, 100:164]
    assert np.array_equal(rule(Image.fromarray(exact), 64), exact)
    grown = rule(Image.fromarray(china[:40, :50]), 64)
    assert grown.size == (64, 64)
    assert abs(np.asarray(grown).mean() - china[:40, 5:45].mean()) < 2


def stored(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_grey_is_repeated_alpha_dropped_and_a_palette_looked_up(china: np.ndarray) -> None:
    grey = china[:20, :30, 0]
    for image in (Image.fromarray(grey), Image.merge("LA", [Image.fromarray(grey), Image.new("L", (30, 20), 7)])):
        assert np.array_equal(decode(stored(image), "x").image, np.repeat(grey[..., None], 3, axis=2))
    transparent = Image.fromarray(np.dstack([china[:20, :30], np.zeros((20, 30), np.uint8)]))
    assert np.array_equal(decode(stored(transparent), "x").image, china[:20, :30])
    palette = Image.fromarray(china[:20, :30]).quantize(16)
    colours = np.asarray(palette.getpalette()).reshape(-1, 3)
    assert np.array_equal(decode(stored(palette), "x").image, colours[np.asarray(palette)])


def test_cmyk_is_converted_without_a_profile() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 128, 255, 51))
    red, green, blue = np.asarray(decode(stored(ink, "JPEG"), "x").image)[0, 0].astype(int)
    light = 1 - 51 / 255
    expected = [255 * light, (255 - 128) * light, 0]
    assert np.allclose([red, green, blue], expected, atol=3)  # JPEG's loss


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (stored(Image.new("RGB", (64, 64), "red"), "JPEG")[:-20], "truncated"),
        (stored(Image.effect_noise((64, 64), 50))[:-500], ""),
        (b"", "its 0 bytes are not a JPEG, PNG or WebP"),
        (stored(Image.new("RGB", (8, 8)), "GIF"), "are not a JPEG, PNG or WebP"),
        (stored(Image.fromarray(np.full((8, 8), 40000, np.uint16))), "has 16 bits per channel, not 8"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"a.png cannot be decoded: .*{message}.*; fix:"):
        decode(data, "a.png")


def png(colour_type: int, channels: int, depth: int) -> bytes:
    """An 8x8 PNG as its specification has it, since Pillow writes no colours of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + np.full((8, channels), 0x12FF if depth == 16 else 0x12, ">u2" if depth == 16 else "u1").tobytes()
    head = struct.pack(">IIBBBBB", 8, 8, depth, colour_type, 0, 0, 0)
    return PNG_MAGIC + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"]
)
def test_a_png_of_16_bits_is_refused_whatever_pillow_makes_of_it(colour_type: int, channels: int) -> None:
    assert np.all(np.asarray(decode(png(colour_type, channels, 8), "x").image) == 0x12)
    with pytest.raises(UserError, match="x cannot be decoded: it has 16 bits per channel, not 8; fix:"):
        decode(png(colour_type, channels, 16), "x")


def test_webp_is_read(china: np.ndarray) -> None:
    data = io.BytesIO()
    Image.fromarray(china[:20, :30]).save(data, "WEBP", lossless=True)
    assert np.array_equal(decode(data.getvalue(), "x").image, china[:20, :30])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    data = io.BytesIO()
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    pictures[0].save(data, kind, save_all=True, append_images=pictures[1:])
    with pytest.raises(UserError, match="it is an animation of 3 pictures"):
        decode(data.getvalue(), "x")


_SOUND = [png(2, 3, 8), stored(Image.new("RGB", (9, 9), "red"), "JPEG"), stored(Image.new("P", (4, 4)))]


@given(st.sampled_from(_SOUND), st.integers(0, 400), st.binary(max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_the_bytes_an_image_is_decoded_or_refused_by_name(
    sound: bytes, at: int, put: bytes, cut: bool
) -> None:
    data = sound[:at] + put + (b"" if cut else sound[at + len(put) :])
    try:
        assert decode(data, "a.png").image.mode == "RGB"
    except UserError as error:
        assert str(error).startswith("a.png cannot be decoded: ")
