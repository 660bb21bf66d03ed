"""Packed images: random access, hashes, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imagenet_forms import Sample, class_folders

from bench.core.errors import UserError
from bench.data.imagenet.pack import pack
from bench.data.imagenet.packed import PackedImages, open_packed


@pytest.fixture
def packed(tmp_path: Path, small: list[Sample]) -> PackedImages:
    return pack(class_folders(tmp_path / "train", small), tmp_path / "packed", classes=3)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor], ids=["list", "numpy", "torch"])
def test_gather_copies_the_images_asked_for_in_their_order(
    kind: Callable[[list[int]], Any], packed: PackedImages, small: list[Sample]
) -> None:
    indices = [20, 3, 3, 0]
    batch = packed.gather(kind(indices))
    assert (batch.dtype, batch.shape) == (torch.uint8, (4, 3, 64, 64))
    expected = np.stack([small[i].pixels for i in indices]).transpose(0, 3, 1, 2)
    assert np.array_equal(batch, expected)
    batch.zero_()  # a copy: the file is not touched
    packed.verify()


@pytest.mark.parametrize("index", [21, -22])
def test_an_index_beyond_the_images_is_an_error(index: int, packed: PackedImages) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        packed.gather([0, index])


def test_the_images_stay_on_disk_and_cannot_be_written(packed: PackedImages) -> None:
    assert isinstance(packed.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        packed.images[0] = 0


def test_a_worker_process_is_sent_the_folder_and_not_the_pixels(packed: PackedImages) -> None:
    sent = pickle.dumps(packed)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).images, packed.images)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_verify_finds_one_changed_bit(name: str, packed: PackedImages) -> None:
    packed.verify()
    path = packed.folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{name} has changed: its SHA-256 is .*; fix: rm -r"):
        open_packed(packed.folder).verify()


def edit(folder: Path, **fields: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_files_cut_short_missing_or_of_another_shape_are_refused(packed: PackedImages) -> None:
    edit(packed.folder, count=20)
    with pytest.raises(UserError, match=r"images.npy is \(21, 3, 64, 64\) uint8, not \(20, 3, 64, 64\) uint8"):
        open_packed(packed.folder)
    edit(packed.folder, count=21)
    images = packed.folder / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"images.npy is missing, cut short or damaged"):
        open_packed(packed.folder)
    images.unlink()
    with pytest.raises(UserError, match=r"images.npy is missing, .*; fix: rm -r"):
        open_packed(packed.folder)


def test_a_pickle_in_place_of_the_labels_is_not_loaded(packed: PackedImages) -> None:
    np.save(packed.folder / "labels.npy", np.array([print], dtype=object))
    with pytest.raises(UserError, match=r"labels.npy is .*damaged"):
        open_packed(packed.folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"version": 2}, "Input should be 1"), ({"surprise": 1}, "Extra inputs"), ({"count": "many"}, "integer")],
)
def test_a_manifest_that_is_not_ours_is_refused(
    fields: dict[str, object], message: str, packed: PackedImages
) -> None:
    edit(packed.folder, **fields)
    with pytest.raises(UserError, match=rf"manifest.json is damaged \(.*{message}.*\); fix: rm -r"):
        open_packed(packed.folder)


def test_another_folder_is_not_packed_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest.json, so it is not a folder of packed images"):
        open_packed(tmp_path)
