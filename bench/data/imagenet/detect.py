"""Recognise the form of ImageNet at a path by its content."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import regular_file_or_folder
from bench.data.imagenet.edm import LABELS, EDMFolder, EDMZip
from bench.data.imagenet.folders import ClassFolders
from bench.data.imagenet.official_lmdb import OfficialLMDB
from bench.data.imagenet.parquet import Parquet
from bench.data.imagenet.source import Source
from bench.data.imagenet.tars import ClassTars
from bench.data.kinds import is_image, litter
from bench.data.lmdbs import DATA_FILE, MAGIC, MAGIC_OFFSET

FORMS = (
    "class folders of images, class tars or a tar of all, EDM's zip or folder with dataset.json, "
    "the official 64x64 LMDB, or parquet files"
)
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
HEAD = 512


def open_source(path: Path) -> Source:
    """Open ImageNet in any of its forms; the caller closes it.

    Raises UserError if `path` is missing, damaged, of no known form, or of several forms.
    """
    path = path.expanduser()
    try:
        if path.exists():
            regular_file_or_folder(path)
        return _form_of_folder(path)(path) if path.is_dir() else _form_of_file(path)(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror}; fix: name {FORMS}") from error


def _form_of_file(path: Path) -> Callable[[Path], Source]:
    """Recognise a file by its first bytes, so that a file that is cut short is still recognised."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"PK"):
        return EDMZip
    if head.startswith(b"PAR1"):
        return Parquet
    if head[MAGIC_OFFSET:].startswith(MAGIC):
        return OfficialLMDB
    for magic, program in COMPRESSED.items():
        if head.startswith(magic):
            raise UserError(f"{path} is compressed with {program}; fix: decompress it first")
    if head and tarfile.is_tarfile(path):  # after the compressions, which tarfile would decompress
        return ClassTars
    raise UserError(f"{path} starts with {head[:8].hex(' ') or 'nothing'}; fix: name {FORMS}")


def _form_of_folder(path: Path) -> Callable[[Path], Source]:
    """Recognise a folder by the names in it. Raises UserError if they fit no form or several."""
    entries = [entry for entry in path.iterdir() if not litter(entry.name)]
    names = {entry.name for entry in entries}
    found: dict[str, Callable[[Path], Source]] = {}
    if LABELS in names:
        found[LABELS] = EDMFolder
    elif any(entry.is_dir() for entry in entries):
        found["class folders"] = ClassFolders
    if DATA_FILE in names:
        found[DATA_FILE] = OfficialLMDB
    if any(name.endswith(".parquet") for name in names):
        found["parquet files"] = Parquet
    if any(name.endswith(".tar") for name in names):
        found["tars"] = ClassTars
    if len(found) > 1:
        raise UserError(
            f"{path} mixes {' and '.join(found)}; fix: name one of them, or a folder with only one of them"
        )
    if found:
        return next(iter(found.values()))
    if any(is_image(name) for name in names):
        raise UserError(f"{path} holds images without class folders; fix: name the folder of all class folders")
    raise UserError(f"{path} {'holds no images' if names else 'is empty'}; fix: name {FORMS}")
