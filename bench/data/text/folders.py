"""Read images with captions from a folder, in the formats of the Hugging Face imagefolder and similar tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.altered import Decoded
from bench.data.decoding import decoded_files
from bench.data.plain import json_lines, text_of
from bench.data.source import ItemSource, images_under, read_bytes
from bench.data.text.captioned import Captioned, caption_in

METADATA, CAPTIONS = "metadata.jsonl", "captions.txt"
Rows = list[tuple[str, str]]
"""Rows of (path of the image below the folder, caption)."""


class ImageFiles(ItemSource[Decoded]):
    """Given image files in a given order, such as the real images that an evaluation compares with."""

    format = "image files"

    def __init__(self, folder: Path, files: Sequence[Path], skipped: Mapping[str, int] = {}) -> None:
        """Store the files, found in `folder`. The hash covers their names and sizes but not the folder."""
        index = digest([[file.name, file.stat().st_size] for file in files])
        super().__init__(folder, len(files), index, skipped)
        self._files = tuple(files)

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self._files[index])

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        yield from decoded_files(self._files[start:stop])


class CaptionedFolder(Captioned[Decoded]):
    """Images at any depth, with their captions in one of three places.

    `metadata.jsonl`: one JSON object a line, with `file_name` and `text` (or `caption`, `prompt`);
    `captions.txt`: the name, a tab and the caption on each line; both give the order. Without them, a `.txt`
    of the same name beside each image, in order of the names.
    """

    format = "image folder with captions"

    def __init__(self, path: Path) -> None:
        """List the images and read all captions. Raises UserError if the two do not agree."""
        files, skipped = images_under(path)
        images = [file.relative_to(path).as_posix() for file in files]
        listings = [name for name in (METADATA, CAPTIONS) if (path / name).is_file()]
        if len(listings) > 1:
            raise UserError(f"{path} holds both {METADATA} and {CAPTIONS}; fix: keep one of them there")
        if listings:
            reader = _metadata if listings[0] == METADATA else _captions
            rows = reader(path / listings[0])
            _check(rows, images, path / listings[0])
            skipped[f"{PurePosixPath(listings[0]).suffix} files"] -= 1
        else:
            _refuse_shared(path, images)
            rows = [(name, _sidecar(path, name)) for name in images]
            skipped[".txt files"] -= len(rows)
        self._names = [name for name, _ in rows]
        index = digest([[name, caption, (path / name).stat().st_size] for name, caption in rows])
        super().__init__(path, [caption for _, caption in rows], index, +skipped)

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.path / self._names[index])

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        yield from decoded_files(self.path / name for name in self._names[start:stop])


def _metadata(path: Path) -> Rows:
    rows = []
    for number, record in json_lines(read_bytes(path), str(path)):
        where = f"{path}: line {number}"
        caption = caption_in(record, where)
        name = record.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{where} has no file_name; fix: write the image's name below {path.parent} there")
        rows.append((PurePosixPath(name).as_posix(), caption))  # ./a.png is a.png
    return rows


def _captions(path: Path) -> Rows:
    rows = []
    for number, line in enumerate(text_of(read_bytes(path), str(path)).split("\n"), 1):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        if not tab:
            raise UserError(f"{path}: line {number} has no tab; fix: write the image's name, a tab, its caption")
        rows.append((PurePosixPath(name.strip()).as_posix(), caption.strip()))
    return rows


def _sidecar(folder: Path, name: str) -> str:
    path = (folder / name).with_suffix(".txt")
    if not path.is_file():
        raise UserError(
            f"{folder / name} has no caption: there is no {path.name} beside it; "
            f"fix: write one, or {METADATA} with the captions of all images into {folder}"
        )
    return text_of(read_bytes(path), str(path)).strip()


def _refuse_shared(folder: Path, images: list[str]) -> None:
    """Raise UserError if two images have one caption file, as a.jpg and a.png have."""
    first: dict[PurePosixPath, str] = {}
    for name in images:
        caption = PurePosixPath(name).with_suffix(".txt")
        if (other := first.setdefault(caption, name)) != name:
            raise UserError(
                f"{folder} holds {other} and {name}, both with the caption {caption}; fix: move or rename "
                f"one of them, or write {METADATA} with the captions of all images"
            )


def _check(rows: Rows, images: list[str], listing: Path) -> None:
    """Raise UserError unless `rows` names each of `images` once and nothing else."""
    present, named = set(images), {name for name, _ in rows}
    for name, _ in rows:
        if name not in present:
            raise UserError(
                f"{listing} names {name}, which is not there ({len(named - present):,} such images); "
                f"fix: unpack it again, or name images below {listing.parent}"
            )
    if len(named) != len(rows):
        twice = Counter(name for name, _ in rows).most_common(1)[0][0]
        raise UserError(f"{listing} names {twice} twice; fix: keep one caption of each image")
    if len(named) != len(images):
        first = min(present - named)
        raise UserError(
            f"{listing} has captions for {len(named):,} of {len(images):,} images: {first} has none; "
            "fix: add its caption, or move it away"
        )
