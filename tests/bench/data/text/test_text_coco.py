"""COCO's lists by their rules: the pairs, the counts, and pandas' draws."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas
import pytest
from shared_data import shared_file

from bench.core.errors import UserError
from bench.data.text import coco
from bench.data.text.coco import (
    coco10k,
    coco30k,
    locate_images,
    read_captions,
)

IMAGES, CHOSEN = 60, 25


@pytest.fixture(autouse=True)
def _small_coco(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "VAL2014_IMAGES", IMAGES)
    monkeypatch.setattr(coco, "COCO10K_PROMPTS", CHOSEN)


def image_name(image: int) -> str:
    return f"COCO_val2014_{image:012d}.jpg"


def write_captions(path: Path) -> list[dict[str, object]]:
    """Write a captions file of COCO's form, with rows in no order of the images."""
    ids = [7 * image + 3 for image in range(IMAGES)]
    rows = [{"image_id": i, "id": 100 * i + n, "caption": f"caption {n} of {i}"} for i in ids for n in range(5)]
    order = np.random.RandomState(0).permutation(len(rows))
    annotations = [rows[place] for place in order]
    images = [{"id": i, "file_name": image_name(i), "width": 640} for i in reversed(ids)]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return annotations


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    write_captions(tmp_path / "captions_val2014.json")
    return tmp_path / "captions_val2014.json"


def official_rows(path: Path) -> pandas.DataFrame:
    """The official draw by pandas itself: a left merge into `images`, seed 123, shuffle, first of each, sample."""
    content = json.loads(path.read_text())
    images, annotations = pandas.DataFrame(content["images"]), pandas.DataFrame(content["annotations"])
    merged = images.merge(annotations, how="left", left_on="id", right_on="image_id", suffixes=("", "_row"))
    np.random.seed(123)
    return merged.sample(frac=1).drop_duplicates("image_id").sample(CHOSEN)


def test_the_10k_rule_draws_from_captions_merged_into_the_order_of_the_images(captions: Path) -> None:
    """The annotations of the file are in no order of its images, as in COCO's own."""
    frame = official_rows(captions)
    chosen = coco10k(captions)
    assert list(chosen.prompts) == frame.caption.tolist()
    assert list(chosen.images) == frame.file_name.tolist()
    content = json.loads(captions.read_text())
    assert [row["image_id"] for row in content["annotations"][::5]] != [image["id"] for image in content["images"]]


def test_the_10k_list_does_not_depend_on_how_annotations_of_different_images_interleave(captions: Path) -> None:
    chosen = coco10k(captions)
    content = json.loads(captions.read_text())
    content["annotations"].sort(key=lambda row: row["image_id"])  # stable: an image's own stay in their order
    captions.write_text(json.dumps(content))
    assert coco10k(captions) == chosen
    content["images"].sort(key=lambda image: image["id"])
    captions.write_text(json.dumps(content))
    assert coco10k(captions).prompts.sha256 != chosen.prompts.sha256


def test_the_10k_list_has_one_caption_of_each_of_its_images(captions: Path) -> None:
    chosen = coco10k(captions)
    known = read_captions(captions)
    assert len(chosen.prompts) == len(set(chosen.images)) == CHOSEN
    pairs = {(known.images[image], caption) for image, caption in known.rows}
    assert set(zip(chosen.images, chosen.prompts, strict=True)) <= pairs
    assert chosen == coco10k(captions)
    assert chosen.prompts.name == "coco10k"


def test_where_all_images_of_val2014_are(tmp_path: Path, captions: Path) -> None:
    names = sorted(read_captions(captions).images.values())
    assert len(names) == IMAGES
    (tmp_path / "images" / "val2014").mkdir(parents=True)
    for name in names[1:]:
        (tmp_path / "images" / "val2014" / name).touch()
    wanted = names[:0:-1]
    assert [path.name for path in locate_images(tmp_path / "images", wanted)] == list(wanted)
    with pytest.raises(UserError, match=rf"1 of 60 images are missing in .*, the first is {names[0]}; fix:"):
        locate_images(tmp_path / "images", names)
    with pytest.raises(UserError, match="nowhere holds no JPEG, PNG or WebP images"):
        locate_images(tmp_path / "nowhere", names)


def test_other_captions_files_are_refused(tmp_path: Path, captions: Path) -> None:
    path = tmp_path / "other.json"
    content = json.loads(captions.read_text())
    path.write_text(json.dumps({**content, "images": content["images"][1:]}))
    with pytest.raises(UserError, match="lists 59 images and captions of 60, not 60 of each"):
        coco10k(path)
    path.write_text(captions.read_text()[:-100])
    with pytest.raises(UserError, match=r"other\.json is not JSON or is cut short"):
        coco10k(path)
    path.write_text(json.dumps({"images": [], "annotations": [{}]}))
    with pytest.raises(UserError, match=r"is not a captions file of COCO \(KeyError: 'image_id'"):
        read_captions(path)
    path.write_text("[]")
    with pytest.raises(UserError, match=r"other\.json is an array, and no captions file of COCO"):
        read_captions(path)
    with pytest.raises(UserError, match=r"nowhere.json is missing, .*; fix: name captions_val2014.json"):
        coco10k(tmp_path / "nowhere.json")


def test_the_published_30k_captions_with_and_without_their_blanks(tmp_path: Path) -> None:
    path = shared_file("captions_coco14_test.txt")
    assert len(coco30k(path)) == 30_000
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    (tmp_path / "captions_coco14_test.pkl").write_bytes(pickle.dumps(lines))
    stored = coco30k(tmp_path / "captions_coco14_test.pkl")
    assert (len(stored), len(stored.unique())) == (30_000, 29_436)
    assert stored.sha256 != coco30k(path).sha256
    (tmp_path / "other.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"29,999 prompts with the SHA-256 .*, not the 30,000 published captions"):
        coco30k(tmp_path / "other.txt")
