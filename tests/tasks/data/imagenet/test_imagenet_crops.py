"""Crop rules against explicit sizes and closed forms; conversion to RGB; damaged images."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tasks.data.imagenet.crops import CROPS, CropRule, adm, decode, edm
from tasks.errors import UserError

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
        assert np.array_equal(decode(stored(image), "x"), np.repeat(grey[..., None], 3, axis=2))
    transparent = Image.fromarray(np.dstack([china[:20, :30], np.zeros((20, 30), np.uint8)]))
    assert np.array_equal(decode(stored(transparent), "x"), china[:20, :30])
    palette = Image.fromarray(china[:20, :30]).quantize(16)
    colours = np.asarray(palette.getpalette()).reshape(-1, 3)
    assert np.array_equal(decode(stored(palette), "x"), colours[np.asarray(palette)])


def test_cmyk_is_converted_without_a_profile() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 128, 255, 51))
    red, green, blue = np.asarray(decode(stored(ink, "JPEG"), "x"))[0, 0].astype(int)
    light = 1 - 51 / 255
    expected = [255 * light, (255 - 128) * light, 0]
    assert np.allclose([red, green, blue], expected, atol=3)  # JPEG's loss


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (stored(Image.new("RGB", (64, 64), "red"), "JPEG")[:-20], "truncated"),
        (stored(Image.effect_noise((64, 64), 50))[:-500], ""),
        (b"", "its 0 bytes are no JPEG or PNG"),
        (stored(Image.new("RGB", (8, 8)), "GIF"), "are no JPEG or PNG"),
        (stored(Image.fromarray(np.full((8, 8), 40000, np.uint16))), "mode I;16, not 8 bits"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"a.png cannot be decoded: .*{message}.*; fix:"):
        decode(data, "a.png")
