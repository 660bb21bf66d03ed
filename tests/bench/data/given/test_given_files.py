"""Every file of a folder, a zip or a webdataset is an image, a text beside one, or refused by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from given_forms import shards_of, write_folder, zip_of

from bench.core.errors import UserError
from bench.data.given.files import open_given

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine", IMAGES)


def test_all_forms_hold_the_same_files(folder: Path, tmp_path: Path) -> None:
    expected = {name: read() for name, read in open_given(folder).images.items()}
    assert len(expected) == 12 and next(iter(expected)) == "000000.png"
    zipped = open_given(zip_of(folder, tmp_path / "a.zip"))
    assert zipped.form == "zip" and {name: read() for name, read in zipped.images.items()} == expected
    shards_of(folder, tmp_path / "one", 1)
    tar = open_given(tmp_path / "one" / "000.tar")
    assert tar.form == "webdataset" and {name: read() for name, read in tar.images.items()} == expected


def test_files_of_several_shards_begin_with_the_shards_name(folder: Path, tmp_path: Path) -> None:
    shards_of(folder, tmp_path / "shards")
    whole = open_given(tmp_path / "shards")
    assert list(whole.images) == list(open_given(tmp_path / "shards" / "{000..001}.tar").images)
    assert next(iter(whole.images)) == "000.tar/000000.png" and list(whole.images)[-1] == "001.tar/000011.png"
    (tmp_path / "shards" / "001.tar").unlink()
    with pytest.raises(UserError, match=r"1 shard of 2 missing: .*001\.tar"):
        open_given(tmp_path / "shards" / "{000..001}.tar")


def test_images_are_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", IMAGES, [f"{number}.png" for number in range(12)])
    assert list(open_given(tmp_path / "mine").images)[8:11] == ["8.png", "9.png", "10.png"]


def test_digits_that_are_no_numbers_are_signs_like_others(tmp_path: Path) -> None:
    """A raised 2 is a digit to Python, and no number."""
    given = ["1²2.png", "²10.png", "²9.png"]
    write_folder(tmp_path / "mine", IMAGES[: len(given)], given)
    assert sorted(open_given(tmp_path / "mine").images) == sorted(given)


@pytest.mark.parametrize("stray", ["notes.txt", "000000.npy", "readme.md", "more.bmp", "old.zip"])
def test_a_stray_file_is_refused_by_name(folder: Path, stray: str) -> None:
    (folder / stray).write_bytes(b"x")
    with pytest.raises(UserError, match=f"1 file would not be used: {stray}; .*fix: "):
        open_given(folder)


def test_a_zip_with_the_separators_of_windows_is_refused_for_them(folder: Path, tmp_path: Path) -> None:
    """Its names were taken for those of images without a number."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "000000.png", "mine\\000000.png")
        archive.writestr("__MACOSX\\._000000.png", b"")
    with pytest.raises(UserError, match=r"a\.zip holds mine\\000000\.png, with a backslash in its name .*; fix:"):
        open_given(tmp_path / "a.zip")


def test_litter_and_what_genevals_script_writes_are_no_strays(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "geneval", IMAGES[:2], ["00000/samples/0000.png", "00001/samples/0000.png"])
    write_folder(folder / "00000", IMAGES[:1], ["grid.png"])
    (folder / "00000" / "metadata.jsonl").write_text("{}")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    found = open_given(folder)
    assert list(found.images) == ["00000/samples/0000.png", "00001/samples/0000.png"]
    assert found.skipped == {"grid.png": 1, "metadata.jsonl": 1, ".DS_Store": 1, "Thumbs.db": 1}


def test_what_is_left_out_is_counted_in_every_form(folder: Path, tmp_path: Path) -> None:
    assert open_given(folder).skipped == {}
    write_folder(folder, IMAGES[:1], [".000012.png"])
    shards_of(folder, tmp_path / "shards", 2)
    for form in (folder, zip_of(folder, tmp_path / "a.zip"), tmp_path / "shards", tmp_path / "shards" / "000.tar"):
        assert open_given(form).skipped == {"hidden files": 1}


def test_a_text_beside_an_image_belongs_to_it(folder: Path) -> None:
    (folder / "000003.txt").write_text("a red bird")
    (folder / "000003.json").write_text('{"prompt": "a red bird"}')
    texts = open_given(folder).texts
    assert list(texts) == ["000003.png"]
    assert [text.name for text in texts["000003.png"]] == ["000003.json", "000003.txt"]


def test_a_damaged_archive_or_none_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    whole = zip_of(folder, tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    shards_of(folder, tmp_path / "shards", 1)
    tar = (tmp_path / "shards" / "000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(tar[: len(tar) // 2])
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("0.png", b"x")
        archive.writestr("0.png", b"y")
    (tmp_path / "empty").mkdir()
    for name, problem in (
        ("cut.zip", "is neither a zip nor a tar"),
        ("cut.tar", "cut short"),
        ("twice.zip", "holds 0.png twice"),
        ("empty", "holds no images"),
        ("nothing", "there is nothing at"),
    ):
        with pytest.raises(UserError, match=rf"{problem}.*fix: "):
            open_given(tmp_path / name)
