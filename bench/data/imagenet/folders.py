"""Read unpacked ImageNet: one folder of images per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.altered import Decoded
from bench.data.decoding import decoded_files
from bench.data.imagenet.source import Source, numbered
from bench.data.kinds import IMAGE_KINDS, is_image, litter, other_kind


class ClassFolders(Source):
    """Images `n01440764/n01440764_10026.JPEG` and so on; the classes are the sorted folder names."""

    format = "class folders"

    def __init__(self, path: Path) -> None:
        """List all images. Raises UserError if a class has no images or holds anything else."""
        classes: list[str] = []
        self._names: list[str] = []
        skipped: Counter[str] = Counter()
        for entry in _entries(path, skipped):
            if entry.is_dir():
                names = _images(Path(entry.path), skipped)
                classes += [entry.name] * len(names)
                self._names += [f"{entry.name}/{name}" for name in names]
            elif is_image(entry.name):
                raise UserError(f"{entry.path} lies outside the class folders; fix: move it into one or away")
            else:
                skipped[other_kind(entry.name, entry.path)] += 1
        labels, class_names = numbered(classes)
        super().__init__(path, labels, digest(self._names), class_names, skipped)

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.path / self._names[index])

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        yield from decoded_files(self.path / name for name in self._names[start:stop])


def _entries(folder: Path, skipped: Counter[str]) -> list[os.DirEntry[str]]:
    """List a folder by name; count hidden files and litter in `skipped`."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if kind := litter(entry.name):
                skipped[kind] += 1
            else:
                found.append(entry)
    return sorted(found, key=lambda entry: entry.name)


def _images(folder: Path, skipped: Counter[str]) -> list[str]:
    """List the images of one class. Raises UserError if there is none, or if other files are among them."""
    names = [entry.name for entry in _entries(folder, skipped)]
    strangers = [name for name in names if not is_image(name)]
    if strangers:
        hint = " (name the folder whose subfolders are the classes)" if (folder / strangers[0]).is_dir() else ""
        raise UserError(
            f"{folder / strangers[0]} is not a {IMAGE_KINDS} image of a class{hint}; fix: move it away"
        )
    if not names:
        raise UserError(f"class folder {folder} is empty; fix: unpack that class again")
    return names
