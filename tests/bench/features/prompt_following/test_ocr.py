"""The text in images, read by the networks of RapidOCR's wheel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bench.core.errors import UserError
from bench.features.batch import ImageBatch
from bench.features.compositional import OCR
from bench.features.prompt_following import ocr
from bench.features.prompt_following.ocr import RECOGNISER, TextReader, ocr_scores, packaged_files


def picture(text: str) -> Tensor:
    """Black text on white, uint8 [3, 160, 160]; the reader enlarges the shorter side, so a longer one is slow."""
    image = Image.new("RGB", (160, 160), "white")
    ImageDraw.Draw(image).text((16, 56), text, fill="black", font=ImageFont.load_default(36))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader(packaged_files())


def test_rendered_words_are_read(reader: TextReader) -> None:
    images = torch.stack([picture("Coffee"), picture("OPEN"), picture("")])
    prompts = ['a mug with "coffee"', 'a sign that says "SPAN"', 'a wall with "art"']
    found = ocr_scores(reader, ImageBatch(images, prompts=prompts))
    assert found.scores["ocr"].tolist() == [1.0, 0.5, 0.0]
    assert list(found.reasons["ocr"]) == [
        "read 'Coffee' for 'coffee'",
        "read 'OPEN' for 'SPAN'",
        "read '' for 'art'",
    ]


def test_the_colours_of_images_are_red_first(reader: TextReader) -> None:
    """A reader that took red for blue would read the same text here, so the engine's own input is looked at."""
    given = []
    engine = reader._engine
    before = engine.preprocess_img
    engine.preprocess_img = lambda image: given.append(image) or before(image)
    try:
        reader.read(np.broadcast_to(np.array([200, 100, 0], np.uint8), (64, 64, 3)))
    finally:
        engine.preprocess_img = before
    assert given[0][0, 0].tolist() == [0, 100, 200]


@pytest.mark.parametrize("part", ["recognize_txt", "detect_and_crop"])
def test_a_network_that_fails_is_an_error_and_no_score_of_zero(
    part: str, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_inputs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(reader._engine, part, broken)
    with pytest.raises(UserError, match="reading the text of an image failed: out of memory"):
        reader.read(picture("OPEN").permute(1, 2, 0).numpy())


def test_prompts_are_required(reader: TextReader) -> None:
    with pytest.raises(UserError, match="there are 0 for 1 images"):
        ocr_scores(reader, ImageBatch(picture("OPEN")[None]))


def test_the_network_is_named_by_the_hash_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = OCR.network({})
    assert name.startswith("ocr, PP-OCRv6 small by rapidocr 3")
    other = dict(packaged_files())
    other[RECOGNISER] = tmp_path / RECOGNISER
    other[RECOGNISER].write_bytes(b"another network")
    monkeypatch.setattr(ocr, "packaged_files", lambda: other)
    assert OCR.network({}) != name


def test_a_damaged_network_is_an_error(tmp_path: Path) -> None:
    other = dict(packaged_files())
    other[RECOGNISER] = tmp_path / RECOGNISER
    other[RECOGNISER].write_bytes(b"no network")
    with pytest.raises(UserError, match="RapidOCR could not be loaded"):
        TextReader(other)
