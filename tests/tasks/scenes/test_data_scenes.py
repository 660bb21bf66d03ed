"""Scenes: a grammar that parses back, a composition that shows what its caption says, sample by sample."""

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from tasks.fashion import data as fashion
from tasks.scenes import data as scenes
from tasks.scenes.data import CAPTIONS, COLOURS, CONTENTS, ITEM, KINDS, SHADE, Content, Item, parse

GREY = np.full((10, 28, 28), 200, np.uint8)
"""Ten items that fill their frame, one of each class."""
CLASSES = np.arange(10)


def test_every_caption_is_one_sentence_and_says_one_thing() -> None:
    assert len(CAPTIONS) == len(set(CAPTIONS)) == 2 * (10 * 6) ** 2
    for caption, content, truth in zip(CAPTIONS, CONTENTS * 2, scenes.truths(), strict=True):
        assert parse(caption) == content
        assert [*content.left, *content.right] == truth.tolist()


def test_either_place_may_come_first() -> None:
    content = Content(Item(KINDS.index("shirt"), 0), Item(KINDS.index("bag"), 2))
    for relation, caption in (
        ("left", "a red shirt left of a blue bag"),
        ("right", "a blue bag right of a red shirt"),
    ):
        assert content.caption(relation) == caption
        assert parse(caption) == content


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("", "is not a caption of a scene"),
        ("a red shirt above of a blue bag", "is not a caption of a scene"),
        ("a red shirt left of a blue bag please", "is not a caption of a scene"),
        ("a rad shirt left of a blue bag", "unknown colour .* 'rad'; did you mean 'red'"),
        ("a red shirt left of a blue bog", "unknown kind of item .* 'bog'; did you mean 'bo?a?g"),
    ],
)
def test_another_sentence_is_refused(caption: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(caption)


def test_numbers_are_splitmix64s() -> None:
    """The first of seed 0, as published with the reference implementation, less the lowest bit."""
    published = np.array([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F], np.uint64)
    assert scenes.scrambled(0, 3).tolist() == (published >> np.uint64(1)).tolist()


def test_a_scene_depends_on_its_number_and_split_alone() -> None:
    few, many = (scenes.compose(GREY, CLASSES, count, split=0) for count in (5, 50))
    assert np.array_equal(few.images, many.images[:5])
    assert np.array_equal(few.labels, many.labels[:5])
    assert not np.array_equal(few.labels, scenes.compose(GREY, CLASSES, 5, split=1).labels)


def test_a_scene_shows_what_its_caption_says() -> None:
    """Each half holds one 8x8 item, of the brightness of its picture and near its colour; the rest is black."""
    palette = np.array(list(COLOURS.values()))
    brightness = 20 * CLASSES + 20
    items = np.broadcast_to(brightness[:, None, None], (10, 28, 28)).astype(np.uint8)
    made = scenes.compose(items, CLASSES, 200, split=0)
    tops = set()
    for image, caption in zip(made.images, made.labels, strict=True):
        halves = image[..., :ITEM], image[..., ITEM:]
        for half, item in zip(halves, CONTENTS[caption % len(CONTENTS)], strict=True):
            lit = half.sum((0, 2)) > 0
            tops.add(int(lit.argmax()))
            assert lit.sum() == ITEM and lit[lit.argmax() :][:ITEM].all()
            inner = half[:, lit][:, 1:-1, 1:-1].reshape(3, -1)  # its frame's two black pixels dim the edge
            assert (inner == inner[:, :1]).all()
            shade = inner[:, 0] / brightness[item.kind] * 255
            tolerance = SHADE + 0.5 * 255 / brightness[item.kind]
            assert (np.abs(shade - palette[item.colour]) <= tolerance).all()
    assert tops == set(range(9))


def test_every_choice_is_made_about_equally_often() -> None:
    made = scenes.compose(GREY, CLASSES, 6000, split=0)
    for column, choices in zip(scenes.truths()[made.labels].T, (10, 6, 10, 6), strict=True):
        counts = np.bincount(column, minlength=choices)
        assert (np.abs(counts - 6000 / choices) < 5 * (6000 / choices) ** 0.5).all()
    assert abs((made.labels < len(CONTENTS)).mean() - 0.5) < 0.04


def test_shrinking_averages_framed_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28)).astype(np.uint8)
    small = scenes.shrink(image)
    assert small.shape == (1, 8, 8)
    assert small[0, 3, 4] == np.rint(image[0, 10:14, 14:18].mean())
    assert small[0, 0, 0] == np.rint(image[0, :2, :2].sum() / 16)


def test_training_and_held_out_scenes_share_no_item(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dark, light = (np.full((10, 28, 28), grey, np.uint8) for grey in (60, 250))
    found = fashion.Originals((dark, CLASSES), (light, CLASSES), "here")
    monkeypatch.setattr(fashion, "originals", lambda *_: found)
    monkeypatch.setattr(scenes, "TRAIN_SCENES", 30)
    monkeypatch.setattr(scenes, "HELD_OUT_SCENES", 20)
    splits = scenes.load(None, tmp_path)
    assert splits.train.images.shape == (30, 3, 16, 16) and splits.held_out.images.shape == (20, 3, 16, 16)
    assert splits.train.images.max() < 70 < splits.held_out.images.reshape(20, -1).max(1).min()
