"""The same few images in every form that ImageNet comes in, written by the forms' own libraries."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n01484850")


@dataclass(frozen=True)
class Sample:
    """One image of a class, encoded."""

    label: int
    name: str
    data: bytes
    pixels: np.ndarray
    """What a decoder makes of `data`: [H, W, 3] uint8."""

    @property
    def path(self) -> str:
        return f"{WNIDS[self.label]}/{self.name}"


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    """Encode [H, W, 3] or [H, W] as PNG or JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"png": "PNG", "JPEG": "JPEG"}[suffix])
    return buffer.getvalue()


def of_class(samples: Sequence[Sample], label: int) -> list[Sample]:
    return [sample for sample in samples if sample.label == label]


def tar_of(files: Sequence[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def class_tar(samples: Sequence[Sample], label: int) -> bytes:
    return tar_of([(sample.name, sample.data) for sample in of_class(samples, label)])


def class_folders(root: Path, samples: Sequence[Sample]) -> Path:
    for sample in samples:
        (root / WNIDS[sample.label]).mkdir(parents=True, exist_ok=True)
        (root / sample.path).write_bytes(sample.data)
    return root


def tar_of_class_tars(root: Path, samples: Sequence[Sample]) -> Path:
    root.mkdir()
    # The classes' order in the tar is not that of their names.
    inner = [(f"{WNIDS[label]}.tar", class_tar(samples, label)) for label in (2, 0, 1)]
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    return root / "ILSVRC2012_img_train.tar"


def folder_of_class_tars(root: Path, samples: Sequence[Sample]) -> Path:
    root.mkdir()
    for label, wnid in enumerate(WNIDS):
        (root / f"{wnid}.tar").write_bytes(class_tar(samples, label))
    return root


def tar_with_class_folders(root: Path, samples: Sequence[Sample]) -> Path:
    root.mkdir()
    files = [(f"./train/{sample.path}", sample.data) for sample in reversed(samples)]
    (root / "train.tar").write_bytes(tar_of(files))
    return root / "train.tar"


def edm_names(samples: Sequence[Sample]) -> list[str]:
    return [f"{i // 1000:05d}/img{i:08d}.png" for i in range(len(samples))]


def edm_zip(root: Path, samples: Sequence[Sample]) -> Path:
    root.mkdir()
    names = edm_names(samples)
    labels = [[name, sample.label] for name, sample in zip(names, samples, strict=True)]
    with zipfile.ZipFile(root / "imagenet-64x64.zip", "w") as archive:
        for name, sample in reversed(list(zip(names, samples, strict=True))):
            archive.writestr(name, sample.data)
        archive.writestr("dataset.json", json.dumps({"labels": labels[::-1]}))
    return root / "imagenet-64x64.zip"


def edm_folder(root: Path, samples: Sequence[Sample]) -> Path:
    archive = edm_zip(root, samples)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(root / "unpacked")
    return root / "unpacked"


def official_lmdb(root: Path, samples: Sequence[Sample], map_size: int = 1 << 24) -> Path:
    import lmdb

    folder = root / "imagenet-64x64_lmdb"
    root.mkdir()
    with lmdb.open(str(folder), map_size=map_size) as environment, environment.begin(write=True) as transaction:
        for i, sample in enumerate(samples):
            chw = np.ascontiguousarray(sample.pixels.transpose(2, 0, 1))
            transaction.put(f"images_{i}_data".encode(), chw.tobytes())
            transaction.put(f"labels_{i}_data".encode(), np.int64(sample.label).tobytes())
        transaction.put(b"images_shape", f"{len(samples)} 3 64 64".encode())
        transaction.put(b"labels_shape", f"{len(samples)} 1".encode())
    return folder


def write_parquet(path: Path, samples: Sequence[Sample], row_group_size: int = 4) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.array([{"bytes": s.data, "path": s.name} for s in samples])
    table = pa.table({"image": image, "label": pa.array([s.label for s in samples], pa.int64())})
    features = {"image": {"_type": "Image"}, "label": {"names": ["tench", "goldfish", "shark"]}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


def parquet_file(root: Path, samples: Sequence[Sample]) -> Path:
    write_parquet(root / "images.parquet", samples)
    return root / "images.parquet"


def parquet_shards(root: Path, samples: Sequence[Sample]) -> Path:
    """Two training shards beside the hub's other splits, of which the test split has no labels."""
    half = len(samples) // 2
    write_parquet(root / "train-00000-of-00002.parquet", samples[:half])
    write_parquet(root / "train-00001-of-00002.parquet", samples[half:])
    write_parquet(root / "validation-00000-of-00001.parquet", samples[:2])
    return root


Form = Callable[[Path, Sequence[Sample]], Path]

NEEDS = {official_lmdb: "lmdb", parquet_file: "pyarrow", parquet_shards: "pyarrow"}
"""The optional module that writes a form."""
FORMS: dict[Form, str] = {
    class_folders: "class folders",
    tar_of_class_tars: "class tars",
    folder_of_class_tars: "class tars",
    tar_with_class_folders: "class tars",
    edm_zip: "EDM zip",
    edm_folder: "EDM folder",
    official_lmdb: "LMDB",
    parquet_file: "parquet",
    parquet_shards: "parquet",
}
"""Every form, and what the manifest calls it."""
