"""Damaged, incomplete and mixed sources: each is refused with the file's name and the fix."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from imagenet_forms import (
    WNIDS,
    Form,
    Sample,
    class_folders,
    class_tar,
    edm_folder,
    edm_names,
    edm_zip,
    folder_of_class_tars,
    official_lmdb,
    parquet_file,
    parquet_shards,
    tar_of,
    tar_of_class_tars,
    tar_with_class_folders,
    write_parquet,
)
from PIL import Image

from bench.core.errors import UserError
from bench.data.imagenet.detect import open_source
from bench.data.imagenet.pack import pack


def refused(path: Path, message: str) -> None:
    """Opening and packing `path` must end in a UserError with this message and its fix."""
    with pytest.raises(UserError, match=message) as caught:
        pack(path, path.parent / "packed", classes=3, workers=1)
    assert "fix: " in str(caught.value)


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


# Folders


def test_no_path_an_empty_folder_and_a_file_of_something_else(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere: No such file or directory; fix: name class folders")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty is empty; fix: name class folders")
    (tmp_path / "text").write_text("hello")
    refused(tmp_path / "text", "starts with 68 65 6c 6c 6f; fix:")
    (tmp_path / "nothing").touch()
    refused(tmp_path / "nothing", "starts with nothing; fix:")


def test_images_outside_class_folders(tmp_path: Path, small: list[Sample]) -> None:
    folder = class_folders(tmp_path / "train", small)
    (folder / "stray.JPEG").write_bytes(small[0].data)
    refused(folder, r"train/stray.JPEG lies outside the class folders")
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes(small[0].data)
    refused(flat, "flat holds images without class folders")


def test_a_class_folder_that_is_empty_or_holds_something_else(tmp_path: Path, small: list[Sample]) -> None:
    folder = class_folders(tmp_path / "train", small)
    refused(
        tmp_path, r"train/n01440764 is not a JPEG, PNG or WebP image of a class \(name the folder whose subfolders"
    )
    (folder / "n02000000").mkdir()
    refused(folder, "class folder .*n02000000 is empty")
    (folder / "n02000000" / "notes.txt").write_text("x")
    refused(folder, r"n02000000/notes.txt is not a JPEG, PNG or WebP image of a class; fix")


@pytest.mark.parametrize(
    ("name", "others"),
    [("dataset.json", "dataset.json and tars"), ("x.parquet", "parquet files and tars"), ("data.mdb", "data.mdb")],
)
def test_mixed_forms(name: str, others: str, tmp_path: Path, small: list[Sample]) -> None:
    folder = folder_of_class_tars(tmp_path / "train", small)
    (folder / name).touch()
    refused(folder, f"train mixes {others}.*; fix: name one of them")


def test_tars_beside_class_folders(tmp_path: Path, small: list[Sample]) -> None:
    folder = folder_of_class_tars(tmp_path / "train", small)
    class_folders(folder, small)
    refused(folder, "train mixes class folders and tars")


# Tars


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.61, 0.9])
@pytest.mark.parametrize("form", [tar_of_class_tars, tar_with_class_folders])
def test_a_tar_cut_short_anywhere(form: Form, share: float, tmp_path: Path, small: list[Sample]) -> None:
    path = form(tmp_path / "source", small)
    refused(cut(path, share), rf"{path.name}.* (is cut short or damaged|is not a tar or is cut short)")


def test_a_tar_cut_short_between_two_members(tmp_path: Path, small: list[Sample]) -> None:
    path = tar_with_class_folders(tmp_path / "source", small)
    with tarfile.open(path) as tar:
        end = tar.getmembers()[5].offset
    path.write_bytes(path.read_bytes()[:end])
    refused(path, f"train.tar is cut short or damaged at byte {end:,}")


def test_a_class_tar_cut_short_is_named(tmp_path: Path, small: list[Sample]) -> None:
    folder = folder_of_class_tars(tmp_path / "source", small)
    cut(folder / f"{WNIDS[1]}.tar", 0.4)
    refused(folder, rf"{WNIDS[1]}.tar is cut short or damaged")


def test_a_damaged_image_in_a_tar_is_named(tmp_path: Path, small: list[Sample]) -> None:
    path = tar_of_class_tars(tmp_path / "source", small)
    data = path.read_bytes()
    path.write_bytes(data.replace(small[8].data, bytes(len(small[8].data))))
    refused(path, rf"ILSVRC2012_img_train.tar: {small[8].path} cannot be decoded: its .* not a JPEG, PNG or WebP")


def test_tars_of_another_layout(tmp_path: Path, small: list[Sample]) -> None:
    def tar(name: str, files: list[tuple[str, bytes]]) -> Path:
        (tmp_path / name).write_bytes(tar_of(files))
        return tmp_path / name

    image, inner = (f"a/{small[0].name}", small[0].data), ("n01.tar", class_tar(small, 0))
    refused(tar("both.tar", [image, inner]), "both.tar mixes class tars and images")
    refused(tar("none.tar", [("README", b"x")]), "none.tar holds neither class tars nor images")
    refused(tar("one.tar", [(small[0].name, small[0].data)]), "one.tar holds a single class; fix: name the folder")
    twice = [(f"train/{image[0]}", image[1]), (f"val/{image[0]}", image[1])]
    refused(tar("twice.tar", twice), "twice.tar has class folders in several places: train, val")
    refused(
        tar("empty-class.tar", [("n01.tar", tar_of([]))]), r"class tar .*empty-class.tar: n01.tar holds no images"
    )
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "train.tar").write_bytes(tar_of([inner]))
    refused(folder, r"train.tar: n01.tar is not a JPEG, PNG or WebP image of a class")


# EDM's zip and folder


def test_a_zip_cut_short(tmp_path: Path, small: list[Sample]) -> None:
    path = cut(edm_zip(tmp_path / "source", small), 0.6)
    refused(path, "imagenet-64x64.zip is not a zip or is cut short")


def test_a_damaged_image_in_a_zip_is_named(tmp_path: Path, small: list[Sample]) -> None:
    path = edm_zip(tmp_path / "source", small)
    path.write_bytes(path.read_bytes().replace(small[8].data, small[8].data[:-1] + b"x"))
    refused(path, r"imagenet-64x64.zip: 00000/img00000008.png is damaged \(Bad CRC-32")


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "lmdb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.mdb", b"x")
    refused(path, r"holds data.mdb but no dataset.json, .*unzip it and name the folder")


def with_labels(tmp_path: Path, samples: list[Sample], labels: object) -> Path:
    """EDM's folder with these contents of dataset.json."""
    folder = edm_folder(tmp_path / "source", samples)
    (folder / "dataset.json").write_text(json.dumps(labels))
    return folder


def pairs(samples: list[Sample]) -> list[list[object]]:
    return [[name, sample.label] for name, sample in zip(edm_names(samples), samples, strict=True)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has no list 'labels'"),
        ({"labels": None}, "has no list 'labels'"),
        ({"labels": [["00000/img00000000.png"]]}, "has no list 'labels'"),
        ({}, "KeyError"),
    ],
)
def test_dataset_json_without_labels(labels: object, message: str, tmp_path: Path, small: list[Sample]) -> None:
    refused(with_labels(tmp_path, small, labels), message)


def test_labels_that_do_not_fit_the_images(tmp_path: Path, small: list[Sample]) -> None:
    def labelled(number: int, labels: list[list[object]]) -> Path:
        return with_labels(tmp_path / str(number), small, {"labels": labels})

    for number in range(6):
        (tmp_path / str(number)).mkdir()
    right = pairs(small)
    refused(labelled(0, right[1:]), "dataset.json has no label for 00000/img00000000.png")
    extra = [*right, ["00000/img00000021.png", 0]]
    refused(labelled(1, extra), "22 labels for 21 images: it labels 00000/img00000021.png, which is not there")
    refused(labelled(2, [*right, right[0]]), "22 labels for 21 images: it labels an image twice")
    refused(
        labelled(3, [*right[:-1], [right[-1][0], 1.5]]),
        "has the label 1.5, which is not a 64-bit integer, for 00000/img00000020",
    )
    refused(labelled(4, [*right[:-1], [right[-1][0], 3]]), r"img00000020.png has the label 3, not one of 0 ... 2")
    refused(labelled(5, [[name, -1] for name, _ in right]), r"the label -1, .*\(21 images have such labels\)")


def test_dataset_json_that_is_cut_short(tmp_path: Path, small: list[Sample]) -> None:
    folder = edm_folder(tmp_path / "source", small)
    cut(folder / "dataset.json", 0.5)
    refused(folder, "dataset.json is not JSON or is cut short")
    (folder / "dataset.json").write_text("[]")
    refused(folder, "dataset.json has no list 'labels'")
    (folder / "dataset.json").write_text('{"labels": [], "labels": []}')
    refused(folder, "dataset.json has 'labels' twice")


# The official LMDB


def edited_lmdb(tmp_path: Path, samples: list[Sample], changes: dict[str, bytes | None]) -> Path:
    """Write the LMDB, then put or delete keys."""
    lmdb = pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    folder = official_lmdb(tmp_path / "source", samples)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in changes.items():
            if value is None:
                transaction.delete(key.encode())
            else:
                transaction.put(key.encode(), value)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels_shape": b"20 1"}, "has 21 images but 20 labels"),
        ({"images_shape": b"22 3 64 64", "labels_shape": b"22"}, "labels_21_data is missing"),
        ({"images_3_data": None}, "images_3_data is missing"),
        ({"images_3_data": b"abc"}, "images_3_data has 3 bytes, not 12288"),
        ({"labels_3_data": b"\1\0\0\0"}, "labels_3_data has 4 bytes, not 8"),
        ({"labels_3_data": np.int64(1000).tobytes()}, "images_3_data has the label 1000, not one of 0 ... 2"),
        ({"images_shape": b"21 3 32 32"}, r"images_shape is \(21, 3, 32, 32\), not \(N, 3, 64, 64\)"),
        ({"images_shape": b"many"}, "images_shape is b'many', so it is not the official LMDB"),
        ({"labels_shape": None}, "labels_shape is missing, so it is not the official LMDB"),
    ],
)
def test_an_lmdb_that_lacks_or_contradicts_something(
    changes: dict[str, bytes | None], message: str, tmp_path: Path, small: list[Sample]
) -> None:
    refused(edited_lmdb(tmp_path, small, changes), message)


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.5, 0.95])
def test_an_lmdb_cut_short_does_not_kill_the_process(share: float, tmp_path: Path, small: list[Sample]) -> None:
    folder = edited_lmdb(tmp_path, small, {})
    cut(folder / "data.mdb", share)
    refused(folder, "cut short")


def test_an_lmdb_that_is_one_file_is_known_too(tmp_path: Path, small: list[Sample]) -> None:
    folder = edited_lmdb(tmp_path, small, {})
    with open_source(folder / "data.mdb") as source:
        assert source.format == "LMDB"
        assert len(source) == 21


# Parquet


@pytest.fixture
def pyarrow() -> ModuleType:
    return pytest.importorskip("pyarrow", reason="pyarrow (extra `imagenet`) is not installed")


@pytest.mark.usefixtures("pyarrow")
def test_a_parquet_file_cut_short(tmp_path: Path, small: list[Sample]) -> None:
    refused(
        cut(parquet_file(tmp_path / "source", small), 0.7), "images.parquet is not a parquet file or is cut short"
    )


@pytest.mark.usefixtures("pyarrow")
def test_a_missing_shard(tmp_path: Path, small: list[Sample]) -> None:
    folder = parquet_shards(tmp_path / "source", small)
    (folder / "train-00001-of-00002.parquet").unlink()
    refused(folder, "1 of 2 shards of train are missing in .*source, the first is train-00001; fix: download them")


@pytest.mark.usefixtures("pyarrow")
def test_several_splits_without_a_training_split(tmp_path: Path, small: list[Sample]) -> None:
    for split in ("test", "validation"):
        write_parquet(tmp_path / "source" / f"{split}-00000-of-00001.parquet", small)
    refused(tmp_path / "source", "source holds the splits test, validation; fix: keep one")


@pytest.mark.usefixtures("pyarrow")
def test_shards_of_two_downloads(tmp_path: Path, small: list[Sample]) -> None:
    folder = parquet_shards(tmp_path / "source", small)
    write_parquet(folder / "train-00002-of-00003.parquet", small)
    refused(folder, r"train shards of \[2, 3\] in all; fix: keep one set")


def test_parquet_columns_of_another_kind(pyarrow: ModuleType, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pyarrow.table({"text": ["a"], "label": [1]}), path)
    refused(path, r"has the columns text \(string\), label \(int64\), not image \(a struct with bytes\) and label")
    pq.write_table(pyarrow.table({"image": [{"bytes": b"x"}], "label": ["cat"]}), path)
    refused(path, r"label \(string\), not image")


def test_parquet_rows_without_an_image_or_a_label(
    pyarrow: ModuleType, tmp_path: Path, small: list[Sample]
) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    images = [{"bytes": small[0].data, "path": "a"}, {"bytes": None, "path": "b"}]
    pq.write_table(pyarrow.table({"image": images, "label": [1, 2]}), path)
    refused(path, "x.parquet: row 1 of row group 0 has no image")
    pq.write_table(pyarrow.table({"image": images, "label": [1, None]}), path)
    refused(path, "x.parquet has 1 rows without a label")
    pq.write_table(pyarrow.table({"image": images[:1], "label": [-1]}), path)
    refused(path, "row 0 of row group 0 has the label -1, not one of 0 ... 2")


@pytest.mark.usefixtures("pyarrow")
def test_a_damaged_image_in_parquet_is_named(tmp_path: Path, small: list[Sample]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(small[5].pixels).save(buffer, "JPEG")
    broken = Sample(0, "x.JPEG", buffer.getvalue()[:-100], small[5].pixels)
    path = parquet_file(tmp_path / "source", [*small[:5], broken])
    refused(path, "images.parquet: row 1 of row group 1 cannot be decoded: .*truncated")
