"""Every form of ImageNet holds the same images, labels and order."""

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from imagenet_forms import (
    FORMS,
    NEEDS,
    WNIDS,
    Form,
    Sample,
    class_folders,
    edm_zip,
    folder_of_class_tars,
    official_lmdb,
    parquet_file,
    parquet_shards,
    tar_of_class_tars,
    tar_with_class_folders,
)
from PIL import Image

from bench.core.errors import UserError
from bench.data.imagenet.detect import open_source
from bench.data.imagenet.pack import pack
from bench.data.imagenet.packed import PackedImages

NUMBERS_ONLY = ("EDM zip", "EDM folder", "LMDB")
"""Forms that do not know their classes' names."""


def made(form: Form, tmp_path: Path, samples: Sequence[Sample]) -> Path:
    """Write a form, or skip where the optional library for it is not installed."""
    if form in NEEDS:
        pytest.importorskip(NEEDS[form], reason=f"{NEEDS[form]} (extra `imagenet`) is not installed")
    return form(tmp_path / "source", samples)


def packed(form: Form, tmp_path: Path, samples: Sequence[Sample]) -> PackedImages:
    return pack(made(form, tmp_path, samples), tmp_path / "packed", classes=3, workers=2)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_lossless_images_come_out_bit_for_bit(form: Form, tmp_path: Path, small: list[Sample]) -> None:
    result = packed(form, tmp_path, small)
    assert np.array_equal(result.images, np.stack([s.pixels for s in small]).transpose(0, 3, 1, 2))
    assert result.labels.tolist() == [s.label for s in small]
    manifest = result.manifest
    assert (manifest.count, manifest.crop, manifest.cropped) == (21, "none", 0)
    assert manifest.class_counts == [7, 7, 7]
    assert manifest.source.format == FORMS[form]
    names = ["tench", "goldfish", "shark"] if FORMS[form] == "parquet" else list(WNIDS)
    assert manifest.class_names == (None if FORMS[form] in NUMBERS_ONLY else names)


@pytest.mark.parametrize(
    "form",
    [class_folders, tar_of_class_tars, folder_of_class_tars, tar_with_class_folders, edm_zip, parquet_shards],
    ids=lambda form: form.__name__,
)
def test_photographs_are_decoded_and_cropped_alike(form: Form, tmp_path: Path, photos: list[Sample]) -> None:
    def cropped(pixels: np.ndarray) -> np.ndarray:
        height, width, _ = pixels.shape
        side = min(height, width)
        square = pixels[(height - side) // 2 : (height + side) // 2, (width - side) // 2 : (width + side) // 2]
        resized = Image.fromarray(square).resize((64, 64), Image.Resampling.LANCZOS)
        return np.asarray(resized).transpose(2, 0, 1)

    result = packed(form, tmp_path, photos)
    assert np.array_equal(result.images, np.stack([cropped(s.pixels) for s in photos]))
    assert result.labels.tolist() == [s.label for s in photos]
    assert (result.manifest.crop, result.manifest.cropped) == ("edm", 21)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_any_run_of_images_can_be_read(form: Form, tmp_path: Path, small: list[Sample]) -> None:
    with open_source(made(form, tmp_path, small)) as source:
        assert len(source) == 21
        for start, stop in ((0, 21), (5, 6), (6, 15), (20, 21), (4, 4)):
            read = [decoded.image.tobytes() for decoded in source.read(start, stop)]
            assert read == [s.pixels.tobytes() for s in small[start:stop]]


def test_classes_are_numbered_by_sorted_name_whatever_was_written_first(
    tmp_path: Path, small: list[Sample]
) -> None:
    with open_source(class_folders(tmp_path / "source", small[::-1])) as source:
        assert source.class_names == WNIDS
        assert source.labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7


def test_hidden_files_are_not_images(tmp_path: Path, small: list[Sample]) -> None:
    folder = class_folders(tmp_path / "source", small)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / WNIDS[0] / "._tench.JPEG").write_bytes(b"x")
    (folder / "LICENSE.txt").write_text("terms")
    with open_source(folder) as source:
        assert len(source) == 21


def test_the_index_hash_is_the_names_and_not_the_place(tmp_path: Path, small: list[Sample]) -> None:
    hashes = set()
    for number, samples in enumerate((small, small, small[1:])):
        with open_source(class_folders(tmp_path / str(number), samples)) as source:
            hashes.add(source.index_sha256)
    assert len(hashes) == 2


@pytest.mark.parametrize(("form", "module"), [(official_lmdb, "lmdb"), (parquet_file, "pyarrow")])
def test_a_missing_library_is_an_error_that_names_the_extra(
    form: Form, module: str, tmp_path: Path, small: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(form, tmp_path, small)
    for name in (module, f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"needs {module}, .*pip install 'distillation-bench\[imagenet\]'"):
        open_source(path)


def test_a_compressed_tar_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "train.tar.gz"
    path.write_bytes(gzip.compress(bytes(1024)))
    with pytest.raises(UserError, match="compressed with gzip; fix: decompress it first"):
        open_source(path)
