"""Captioned images and latents read alike from every form; what is damaged or incomplete is named."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from captioned_forms import (
    FORMS,
    Form,
    Picture,
    captions_folder,
    latent_lmdb,
    metadata_folder,
    shards,
    sidecar_folder,
)
from imagenet_forms import tar_of

from bench.core.errors import UserError
from bench.data.text.coco import locate_images, real_images
from bench.data.text.detect import open_captioned
from bench.data.text.folders import ImageFiles
from bench.data.text.latent_lmdb import LatentLMDB


def refused(path: Path, message: str) -> None:
    """Opening `path` and reading all of it must end in a UserError with this message."""
    with pytest.raises(UserError, match=message), open_captioned(path) as source:
        list(source.read(0, len(source)))


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


# What is whole


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images_and_captions(form: Form, tmp_path: Path, made: list[Picture]) -> None:
    with open_captioned(form(tmp_path / "data", made)) as source:
        assert source.format == FORMS[form]
        assert list(source.captions) == [picture.caption for picture in made]
        for (image, _), picture in zip(source.read(0, len(source)), made, strict=True):
            np.testing.assert_array_equal(np.asarray(image), picture.pixels)
        ((third, _),) = source.read(3, 4)
        np.testing.assert_array_equal(np.asarray(third), made[3].pixels)
        assert made[3].name in source.name(3)


@pytest.mark.parametrize("form", FORMS)
def test_the_index_s_hash_covers_names_and_captions(form: Form, tmp_path: Path, made: list[Picture]) -> None:
    first, other = made[0], made[1]
    renamed = Picture("00000x.jpg", first.caption, first.data, first.pixels)
    retold = Picture(first.name, "something else", first.data, first.pixels)
    hashes = []
    for place, samples in enumerate((made, made, [renamed, *made[1:]], [retold, *made[1:]], [other])):
        with open_captioned(form(tmp_path / str(place), samples)) as source:
            hashes.append(source.index_sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("form", FORMS)
def test_other_pixels_under_the_same_names_and_captions_have_another_hash(
    form: Form, tmp_path: Path, made: list[Picture]
) -> None:
    """Images that were cut short, or resized, and then unpacked again: what was made of them is not found."""
    again = Picture(made[0].name, made[0].caption, made[0].data[:-40], made[0].pixels)
    others = [again, *made[1:]]
    with open_captioned(form(tmp_path / "a", made)) as one, open_captioned(form(tmp_path / "b", others)) as other:
        assert one.index_sha256 != other.index_sha256
    folder = sidecar_folder(tmp_path / "reals", made)
    before = ImageFiles(folder, locate_images(folder, [made[0].name])).index_sha256
    (folder / made[0].name).write_bytes(again.data)
    assert ImageFiles(folder, locate_images(folder, [made[0].name])).index_sha256 != before


def test_images_and_shards_in_linked_and_deeper_folders_are_found(tmp_path: Path, made: list[Picture]) -> None:
    sidecar_folder(tmp_path / "disk" / "more", made[1:3])
    folder = sidecar_folder(tmp_path / "data", made[:1])
    (folder / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(folder)  # and no end of it
    with open_captioned(folder) as source:
        assert source.captions == tuple(picture.caption for picture in made[:3])
    shards(tmp_path / "shards" / "part", made)
    with open_captioned(tmp_path / "shards") as source:
        assert len(source) == len(made)
    with pytest.raises(UserError, match=r"holds 00001.png more than once, as .*more/00001.png"):
        (folder / "00001.png").write_bytes(b"")
        locate_images(folder, ["00001.png"])


def test_images_of_a_kind_that_is_not_read_are_named(tmp_path: Path, made: list[Picture]) -> None:
    folder = sidecar_folder(tmp_path / "data", made[:2])
    (folder / "x.TGA").write_bytes(b"")
    refused(
        folder,
        r"x.TGA is an image of a kind that is not read \(.tga; .jpeg, .*; fix: convert it, or move it elsewhere",
    )
    with pytest.raises(UserError, match=r"x.TGA is an image of a kind"):
        real_images(folder)


def test_names_in_a_listing_may_begin_with_a_dot_and_a_slash(tmp_path: Path, made: list[Picture]) -> None:
    folder = metadata_folder(tmp_path / "data", made)
    listing = folder / "metadata.jsonl"
    listing.write_text(listing.read_text().replace('"images/', '"./images//'))
    with open_captioned(folder) as source:
        assert len(source) == len(made)


def test_other_latents_of_the_same_captions_have_another_hash(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    latents = np.random.RandomState(0).randn(2, 4, 3, 5).astype(np.float16)
    hashes = []
    for place, values in (("a", latents), ("b", 2 * latents)):
        with open_captioned(latent_lmdb(tmp_path / place, values, ["one", "two"])) as source:
            hashes.append(source.index_sha256)
    assert hashes[0] != hashes[1]


def test_a_listing_gives_the_order_and_names_give_it_without_one(tmp_path: Path, made: list[Picture]) -> None:
    captions = [picture.caption for picture in made]
    for form in (metadata_folder, captions_folder):
        with open_captioned(form(tmp_path / form.__name__, made[::-1])) as source:
            assert list(source.captions) == captions[::-1]
    with open_captioned(sidecar_folder(tmp_path / "sidecars", made[::-1])) as source:
        assert list(source.captions) == captions


def test_one_shard_alone(tmp_path: Path, made: list[Picture]) -> None:
    with open_captioned(shards(tmp_path / "data", made) / "00001.tar") as source:
        assert list(source.captions) == [picture.caption for picture in made[5:]]


def test_webdataset_keys_end_at_the_first_dot_and_keep_their_folders(tmp_path: Path, made: list[Picture]) -> None:
    files = [(f"{folder}/v1.2/0.{suffix}", data) for folder, data in (("a", made[1].data), ("b", made[3].data))
             for suffix, data in (("PNG", data), ("txt", folder.encode()), ("meta.json", b"{"))]  # fmt: skip
    (tmp_path / "x.tar").write_bytes(tar_of(files))
    with open_captioned(tmp_path / "x.tar") as source:
        assert source.captions == ("a", "b")
        assert source.name(1).endswith("x.tar: b/v1.2/0.PNG")


def test_the_official_latents(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    latents = np.random.RandomState(0).randn(7, 4, 3, 5).astype(np.float16)
    path = latent_lmdb(tmp_path / "data", latents, [f"Zoë {i}" for i in range(7)])
    for place in (path, path / "data.mdb"):
        with open_captioned(place) as source:
            assert isinstance(source, LatentLMDB)
            assert source.shape == (4, 3, 5)
            assert source.captions[6] == "Zoë 6"
            np.testing.assert_array_equal(np.stack(list(source.read(2, 7))), latents[2:])


def test_given_files_such_as_coco_s_reals(tmp_path: Path, made: list[Picture]) -> None:
    folder = sidecar_folder(tmp_path / "val2014", made)
    names = [picture.name for picture in made[4:1:-1]]
    reals = ImageFiles(folder, locate_images(folder, names))
    assert len(reals) == 3
    for (image, _), picture in zip(reals.read(0, 3), made[4:1:-1], strict=True):
        np.testing.assert_array_equal(np.asarray(image), picture.pixels)


# What is not


def test_nothing_and_something_else(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere: No such file or directory; fix: name a folder of images")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty holds no images; fix:")
    (tmp_path / "x.tar").write_text("hello")
    refused(tmp_path / "x.tar", "starts with 68 65 6c 6c 6f; fix: name a folder of images")
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    refused(tmp_path / "x.tar.gz", "starts with 1f 8b")


def test_captions_and_images_that_do_not_agree(tmp_path: Path, made: list[Picture]) -> None:
    folder = captions_folder(tmp_path / "data", made)
    listing = folder / "captions.txt"
    whole = listing.read_text(encoding="utf-8")
    listing.write_text(whole + "00011.jpg\ta\n", encoding="utf-8")
    refused(folder, r"captions.txt names 00011.jpg, which is not there \(1 such images\); fix:")
    listing.write_text(whole + "00003.png\ta\n", encoding="utf-8")
    refused(folder, "captions.txt names 00003.png twice")
    listing.write_text(whole.partition("\n")[2], encoding="utf-8")
    refused(folder, "has captions for 10 of 11 images: 00000.jpg has none; fix:")
    listing.write_text(whole + "00003.png a\n", encoding="utf-8")
    refused(folder, "captions.txt: line 12 has no tab; fix:")
    listing.write_bytes(b"\xff\n")
    refused(folder, "captions.txt is not UTF-8 text")
    (folder / "metadata.jsonl").touch()
    refused(folder, r"holds both metadata.jsonl and captions.txt; fix:")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "a.jpg", "text"', "line 12 is not JSON or is cut short"),
        ('{"file_name": "a.jpg"}', "line 12 has file_name but no text under prompt, caption, text"),
        ('{"file_name": "a.jpg", "caption": null}', "line 12 has file_name, caption but no text"),
        ('{"text": "a"}', r"line 12 has no file_name; fix:"),
        ("[1]", "line 12 is an array and not an object; fix: write one JSON object on each line"),
        ('{"file_name": "a.jpg", "text": "a", "text": "b"}', r"line 12 has 'text' twice; fix: keep one of them"),
        ('{"file_name": "a.jpg", "text": "\xe9"}', "is not UTF-8 text .* in line 12.; fix: save it as UTF-8"),
        ('{"file_name": "../a.jpg", "text": "a"}', r"names \.\./a.jpg, which is not there"),
    ],
)
def test_damaged_metadata(line: str, message: str, tmp_path: Path, made: list[Picture]) -> None:
    folder = metadata_folder(tmp_path / "data", made)
    with (folder / "metadata.jsonl").open("a", encoding="latin-1") as file:
        file.write(line)
    refused(folder, message)


def test_half_a_character_in_a_caption(tmp_path: Path, made: list[Picture]) -> None:
    """JSON can write it, and no tokenizer reads it."""
    folder = metadata_folder(tmp_path / "data", made)
    listing = folder / "metadata.jsonl"
    listing.write_text(listing.read_text().replace("thing 4", r"thing \ud800"))
    refused(folder, r"the caption of .*00004.jpg holds half a character \(a lone surrogate\); fix:")


def test_two_images_of_one_caption(tmp_path: Path, made: list[Picture]) -> None:
    """In a shard they are refused, too."""
    folder = sidecar_folder(tmp_path / "data", made)
    (folder / "00002.png").write_bytes(made[1].data)
    refused(folder, r"holds 00002.jpg and 00002.png, both with the caption 00002.txt; fix:")


def test_an_image_without_its_text_beside_it(tmp_path: Path, made: list[Picture]) -> None:
    folder = sidecar_folder(tmp_path / "data", made)
    (folder / "00002.txt").unlink()
    refused(folder, r"00002.jpg has no caption: there is no 00002.txt beside it; fix:")


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_image_is_named(form: Form, tmp_path: Path, made: list[Picture]) -> None:
    cut_off = Picture(made[6].name, made[6].caption, made[6].data[:-200], made[6].pixels)
    refused(form(tmp_path / "data", [*made[:6], cut_off]), rf"{cut_off.name} cannot be decoded: .*fix:")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.61, 0.9, 1])
def test_a_shard_cut_short_anywhere(share: float, tmp_path: Path, made: list[Picture]) -> None:
    """Even where only the zeros are missing that mark its end."""
    folder = shards(tmp_path / "data", made)
    shard = folder / "00001.tar"
    with tarfile.open(shard) as tar:
        last = tar.getmembers()[-1]
    shard.write_bytes(shard.read_bytes()[: int((last.offset_data + last.size) * share)])
    refused(folder, r"00001.tar (is cut short or damaged|is not a tar or is cut short)")


def test_incomplete_samples(tmp_path: Path, made: list[Picture]) -> None:
    def shard(name: str, *files: tuple[str, bytes]) -> Path:
        (tmp_path / name).write_bytes(tar_of(files))
        return tmp_path / name

    image = ("0.jpg", made[0].data)
    refused(shard("a.tar", image), "a.tar: 0 has no caption: neither .txt nor .json; fix:")
    refused(
        shard("b.tar", ("0.txt", b"x")), r"b.tar: sample 0 has 0 JPEG, PNG or WebP images \(txt\), not one; fix:"
    )
    refused(
        shard("c.tar", image, ("0.png", made[1].data)), r"sample 0 has 2 JPEG, PNG or WebP images \(jpg, png\)"
    )
    refused(shard("d.tar", image, image), r"d.tar holds 0.jpg twice")
    refused(shard("e.tar", image, ("0.json", b"{")), "e.tar: 0.json is not JSON or is cut short")
    no_caption = json.dumps({"caption": None}).encode()
    refused(shard("f.tar", image, ("0.json", no_caption)), "f.tar: 0.json has caption but no text under")
    refused(shard("g.tar", image, ("0.txt", b"\xff")), "g.tar: 0.txt is not UTF-8 text")
    refused(shard("h.tar", ("README", b"")), "sample README has 0 JPEG, PNG or WebP images")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents_shape": None}, "the key latents_shape is missing, so it is not the official LMDB"),
        ({"latents_shape": b"7 60"}, r"latents_shape is \(7, 60\), not \(N, C, H, W\)"),
        ({"latents_shape": b"8 4 3 5"}, "prompts_7_data is missing"),
        ({"prompts_2_data": b"\xff"}, "prompts_2_data is not UTF-8"),
        ({"latents_3_data": None}, "latents_3_data is missing"),
        ({"latents_3_data": b"abc"}, "latents_3_data has 3 bytes, not 120"),
    ],
)
def test_damaged_latents(changes: dict[str, bytes | None], message: str, tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    refused(latent_lmdb(tmp_path / "data", np.zeros((7, 4, 3, 5), np.float16), ["a"] * 7, changes), message)


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.95])
def test_an_lmdb_cut_short_does_not_kill_the_process(share: float, tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    path = latent_lmdb(tmp_path / "data", np.zeros((70, 4, 8, 8), np.float16), ["a"] * 70)
    cut(path / "data.mdb", share)
    refused(path, "cut short")
