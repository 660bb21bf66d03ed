"""What lies beside the images: litter is counted in the manifest, other things are read or refused by name."""

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imagenet_forms import Sample, class_folders, class_tar, edm_folder, edm_zip, folder_of_class_tars, tar_of

from bench.core.errors import UserError
from bench.data.imagenet.detect import open_source
from bench.data.imagenet.edm import parse_labels
from bench.data.imagenet.pack import pack
from bench.data.imagenet.packed import Manifest


class Noted:
    """Progress that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def bar(self, *_: object) -> object:
        return self

    def __enter__(self) -> "Noted":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, *_: object) -> None:
        pass


def littered_folders(root: Path, samples: list[Sample]) -> Path:
    folder = class_folders(root, samples)
    for name in ("__MACOSX/n01440764/._1.png", ".ipynb_checkpoints/1.png", "n01440764/.ipynb_checkpoints/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(samples[0].data)
    (folder / "synsets.txt").touch()
    return folder


def littered_tar(root: Path, samples: list[Sample]) -> Path:
    extra = [("__MACOSX/n01440764/._1.png", b"x"), ("n01440764/.ipynb_checkpoints/1.png", b"x"), ("README", b"x")]
    root.mkdir()
    files = [(sample.path, sample.data) for sample in samples]
    (root / "x.tar").write_bytes(tar_of([*files[:3], *extra, *files[3:]]))
    return root / "x.tar"


def littered_class_tars(root: Path, samples: list[Sample]) -> Path:
    folder = folder_of_class_tars(root, samples)
    (folder / "._n01440764.tar").write_bytes(class_tar(samples, 0))
    (folder / "README.md").touch()
    return folder


def littered_zip(root: Path, samples: list[Sample]) -> Path:
    path = edm_zip(root, samples)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/00000/._img00000000.png", b"x")
        archive.writestr("00000/.ipynb_checkpoints/img00000000-checkpoint.png", samples[0].data)
        archive.writestr("README", b"x")
    return path


def littered_edm_folder(root: Path, samples: list[Sample]) -> Path:
    folder = edm_folder(root, samples)
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "img.png").write_bytes(samples[0].data)
    (folder / "notes.json").touch()
    return folder


@pytest.mark.parametrize(
    ("form", "skipped"),
    [
        (littered_folders, {"__MACOSX": 1, ".ipynb_checkpoints": 2, ".txt files": 1}),
        (littered_tar, {"__MACOSX": 1, ".ipynb_checkpoints": 1, "files without a suffix": 1}),
        (littered_class_tars, {"._*": 1, ".md files": 1}),
        (littered_zip, {"__MACOSX": 1, ".ipynb_checkpoints": 1, "files without a suffix": 1}),
        (littered_edm_folder, {".ipynb_checkpoints": 1, ".json files": 1}),
    ],
)
def test_litter_is_no_image_is_counted_aloud_and_in_the_manifest(
    form: Callable[[Path, list[Sample]], Path], skipped: dict[str, int], tmp_path: Path, small: list[Sample]
) -> None:
    noted = Noted()
    packed = pack(form(tmp_path / "source", small), tmp_path / "packed", classes=3, workers=1, progress=noted)  # type: ignore[arg-type]
    assert len(packed) == len(small)
    assert packed.manifest.source.skipped == skipped
    count = sum(skipped.values())
    assert any(f": {len(small)} to use, {count} skipped (" in note for note in noted.notes)


def test_a_manifest_from_before_the_counting_still_opens(tmp_path: Path, small: list[Sample]) -> None:
    packed = pack(class_folders(tmp_path / "source", small), tmp_path / "packed", classes=3, workers=1)
    content = packed.manifest.model_dump()
    del content["source"]["skipped"]
    assert Manifest.model_validate(content).source.skipped == {}


def changed(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))
    return path


def every_header(offset_local: int, offset_central: int, value: bytes) -> Callable[[bytearray], None]:
    """Put a value into a field of each member's two headers."""

    def change(data: bytearray) -> None:
        for magic, offset in ((b"PK\x03\x04", offset_local), (b"PK\x01\x02", offset_central)):
            at = data.find(magic)
            while at >= 0:
                data[at + offset : at + offset + len(value)] = value
                at = data.find(magic, at + 4)

    return change


def test_a_zip_with_the_separators_of_windows_is_refused_for_them(tmp_path: Path, small: list[Sample]) -> None:
    """Its images were said to have no labels."""
    path = edm_zip(tmp_path / "source", small)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("00000\\img00000021.png", b"")
    with pytest.raises(UserError, match=r"holds 00000\\img00000021\.png, with a backslash in its name"):
        open_source(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (every_header(6, 8, b"\x01\x00"), "is encrypted; fix: unzip it with its password"),
        (every_header(8, 10, struct.pack("<H", 97)), "cannot be unpacked .*; fix: unzip it and name the folder"),
        (every_header(4, 6, struct.pack("<H", 99)), "is not a zip or is cut short .*version"),
        (every_header(22, 24, b"\xff\xff\xff\x7f"), "unpacks to 2.0 GiB, more than the 1.0 GiB"),
        (every_header(14, 16, b"\0\0\0\0"), "dataset.json is damaged .*CRC"),
    ],
    ids=["encrypted", "compression", "version", "bomb", "crc"],
)
def test_a_zip_that_cannot_be_read_names_the_member(
    change: Callable[[bytearray], None], message: str, tmp_path: Path, small: list[Sample]
) -> None:
    path = changed(edm_zip(tmp_path / "source", small), change)
    with pytest.raises(UserError, match=message):
        pack(path, tmp_path / "packed", classes=3, workers=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("00000/a.tiff", "a.tiff is an image of a kind"), ("more.zip", "more.zip is an archive"), (None, "twice")],
)
def test_what_a_zip_holds_beside_images_is_refused_by_name(
    name: str | None, message: str, tmp_path: Path, small: list[Sample]
) -> None:
    path = edm_zip(tmp_path / "source", small)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning) if name is None else _nothing():
        archive.writestr(name or next(n for n in archive.namelist() if n.endswith(".png")), b"x")
    with pytest.raises(UserError, match=message):
        open_source(path)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_named_pipe_among_the_images_or_as_the_data_is_refused(tmp_path: Path, small: list[Sample]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe is a named pipe"):
        open_source(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"/dev/zero is a character device"):
        open_source(Path("/dev/zero"))
    folder = class_folders(tmp_path / "train", small)
    os.mkfifo(folder / "n01440764" / "z.png")
    with pytest.raises(UserError, match=r"n01440764/z.png is not a regular file"):
        pack(folder, tmp_path / "packed", classes=3, workers=1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"", "is empty, and no JSON"),
        (b"[]", "has no list 'labels'"),
        (b'{"labels": null}', "has no list 'labels'"),
        (b'{"labels": [1]}', "has no list 'labels'"),
        (b'{"labels": [[1, 2]]}', "has no list 'labels'"),
        (b'{"labels": [["a.png", 1' + b"0" * 30 + b"]]}", "which is not a 64-bit integer"),
        (b'{"labels": [["a.png", true]]}', "which is not a 64-bit integer"),
        (b'{"labels": [["a.png", "\\u001b[2J"]]}', r"the label '\\x1b\[2J'"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_damaged_labels_are_one_line(labels: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_labels(labels, ["a.png"], "x.zip")


def test_damaged_labels_in_a_zip_name_the_zip(tmp_path: Path, small: list[Sample]) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dataset.json", json.dumps({"labels": []}))
        archive.writestr("00000/a.png", small[0].data)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'{"labels"', b'{"LABELS"'))
    with pytest.raises(UserError, match=r"x.zip: dataset.json is damaged"):
        open_source(path)


@given(at=st.integers(0, 4000), put=st.binary(max_size=16), cut=st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_a_zip_is_read_or_refused_by_name(
    at: int, put: bytes, cut: bool, tmp_path: Path, small: list[Sample]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("00000/img00000000.png", small[0].data[:2000])
        archive.writestr("dataset.json", json.dumps({"labels": [["00000/img00000000.png", 0]]}))
    sound = buffer.getvalue()
    at = at % len(sound)
    path = tmp_path / "x.zip"
    path.write_bytes(sound[:at] + put + (b"" if cut else sound[at + len(put) :]))
    shutil.rmtree(tmp_path / "packed", ignore_errors=True)
    try:
        with open_source(path) as source:
            list(source.read(0, len(source)))
            assert len(source) == 1
    except UserError as error:
        assert "x.zip" in str(error)
