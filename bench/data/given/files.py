"""The image files that a user gives: a folder, a zip, or a webdataset of one tar or of several shards."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from bench.core.errors import UserError, counted, listed
from bench.core.files import human_size, regular_file_or_folder
from bench.data.kinds import is_image, litter, refuse_backslash
from bench.data.source import MAX_BYTES, files_under, read_bytes
from bench.data.tar_files import Entry, search

Form = Literal["folder", "zip", "webdataset"]
Read = Callable[[], bytes]
"""Reads one file."""

FORMS = (
    "a folder of images, a .zip, a .tar (webdataset), a folder of such tars, or a pattern such as {000..012}.tar"
)
TEXT_SUFFIXES = (".txt", ".json", ".cls")
"""Files that may lie beside an image of the same name, and say what it was made for."""
GENEVAL_FILES = re.compile(r"\d+/(grid\.png|metadata\.jsonl)")
"""What GenEval's script writes beside a prompt's folder of samples: a picture of them all, and the prompt."""


@dataclass(frozen=True)
class Text:
    """A file beside an image that says what it was made for."""

    name: str
    read: Read


@dataclass(frozen=True)
class GivenFiles:
    """The images at a path, by their names below it, and the files that say what they are of."""

    path: Path
    form: Form
    images: Mapping[str, Read]
    """The images in order of their names, 9.png before 10.png."""
    texts: Mapping[str, Sequence[Text]]
    """By the image's name: the .txt (its prompt), .json and .cls (its class) of the same name beside it."""
    skipped: Mapping[str, int]
    """Number of files that are left out, by kind: hidden ones, litter, and what GenEval's script writes."""


def open_given(path: Path, manifest: Path | None = None) -> GivenFiles:
    """List the images at a path; `manifest` is not one of them if it lies there. Nothing is decoded.

    Hidden files, the litter of file managers, and the grids and prompts that GenEval's script writes are left
    out. Raises UserError for a file that is neither an image nor beside one, for a damaged archive, and if there
    are no images.
    """
    path = path.expanduser()
    skipped = Counter[str]()
    form, every = _listed(path, skipped)
    if manifest is not None and form == "folder":
        every = {name: read for name, read in every.items() if (path / name).resolve() != manifest.resolve()}
    if any(re.fullmatch(r"\d+/samples/[^/]+", name) for name in every):
        written = [name for name in every if GENEVAL_FILES.fullmatch(name)]
        every = {name: read for name, read in every.items() if name not in written}
        skipped.update(PurePosixPath(name).name for name in written)
    images = {name: every[name] for name in sorted(every, key=natural) if is_image(name)}
    texts, strays = _beside(images, every)
    if strays:
        raise UserError(
            f"{path}: {counted(len(strays), 'file')} would not be used: {listed(strays)}; images are .png, .jpg "
            f"and .webp; fix: move elsewhere what is no image of yours, and convert images of other kinds to PNG"
        )
    if not images:
        raise UserError(f"{path} holds no images; fix: name {FORMS}")
    return GivenFiles(path, form, images, texts, skipped)


def _beside(images: Mapping[str, Read], every: Mapping[str, Read]) -> tuple[dict[str, list[Text]], list[str]]:
    """Return the texts beside images, by the images' names, and the names of all other files."""
    by_stem = {str(PurePosixPath(name).with_suffix("")): name for name in images}
    texts: dict[str, list[Text]] = {}
    strays = []
    for name in sorted(every.keys() - images.keys()):
        inside = PurePosixPath(name)
        image = by_stem.get(str(inside.with_suffix("")))
        if image is None or inside.suffix.lower() not in TEXT_SUFFIXES:
            strays.append(name)
        else:
            texts.setdefault(image, []).append(Text(name, every[name]))
    return texts, strays


def _listed(path: Path, skipped: Counter[str]) -> tuple[Form, dict[str, Read]]:
    """Return the form of what is at a path, and all its files but litter, by name; count the litter."""
    if not path.exists():
        if shards := list(_expanded(str(path))):
            return "webdataset", _of_shards([Path(shard) for shard in shards], skipped)
        raise UserError(f"there is nothing at {path}; fix: name {FORMS}")
    regular_file_or_folder(path)
    if path.is_dir():
        files, hidden = files_under(path)
        skipped.update(hidden)
        if files and all(file.suffix.lower() == ".tar" for file in files):
            return "webdataset", _of_shards(files, skipped)
        return "folder", {file.relative_to(path).as_posix(): partial(read_bytes, file) for file in files}
    if path.suffix.lower() == ".tar":
        return "webdataset", _of_shards([path], skipped)
    if zipfile.is_zipfile(path):
        return "zip", _of_zip(path, skipped)
    raise UserError(f"{path} is neither a zip nor a tar; fix: name {FORMS}")


def _expanded(pattern: str) -> Iterator[str]:
    """Expand the first `{000..012}` of a pattern, as shells and webdataset do; nothing if it has none."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found:
        first, last = found.groups()
        for number in range(int(first), int(last) + 1):
            yield f"{pattern[: found.start()]}{number:0{len(first)}d}{pattern[found.end() :]}"


def _of_zip(path: Path, skipped: Counter[str]) -> dict[str, Read]:
    """List a zip's files. Raises UserError if it is damaged or encrypted, or has a bad name or one twice."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read as a zip: {error}; fix: make it again") from None
    found: dict[str, Read] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        if (kind := litter(info.filename)) is not None:
            skipped[kind] += 1
            continue
        refuse_backslash(str(path), info.filename)
        if info.filename in found:
            raise UserError(f"{path} holds {info.filename} twice; fix: make it again with one of the two")
        found[info.filename] = partial(_unzipped, archive, info)
    return _without_top_folder(found)


def _without_top_folder(files: dict[str, Read]) -> dict[str, Read]:
    """Leave out the folder that a zip of a folder has around all its files, so that names are as in the folder."""
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in files}
    if len(tops) != 1 or tops == {""} or next(iter(tops)).isdecimal():
        return files
    return {name.split("/", 1)[1]: read for name, read in files.items()}


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    where = f"{archive.filename}: {info.filename}"
    if info.file_size > MAX_BYTES:
        raise UserError(f"{where} has {human_size(info.file_size)}, too much for an image; fix: make it again")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
        raise UserError(f"{where} cannot be read: {error}; fix: make the zip again, without encryption") from None


def _of_shards(shards: list[Path], skipped: Counter[str]) -> dict[str, Read]:
    """List the files of tars; where there are several, each name begins with its shard's."""
    if gone := [str(shard) for shard in shards if not shard.is_file()]:
        raise UserError(f"{counted(len(gone), 'shard')} of {len(shards)} missing: {listed(gone)}; fix: add them")
    found: dict[str, Read] = {}
    for shard in shards:
        with shard.open("rb") as file:
            contents = search(file, str(shard))
        skipped.update(contents.skipped)
        prefix = f"{shard.name}/" if len(shards) > 1 else ""
        found |= {f"{prefix}{entry.name}": partial(_member, shard, entry) for entry in contents.entries}
    return found


def _member(shard: Path, entry: Entry) -> bytes:
    if entry.size > MAX_BYTES:
        raise UserError(
            f"{shard}: {entry.name} has {human_size(entry.size)}, too much for an image; fix: take it out"
        )
    with shard.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size)


def natural(name: str) -> list[tuple[int, str]]:
    """Return the key that sorts a10.png after a9.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
