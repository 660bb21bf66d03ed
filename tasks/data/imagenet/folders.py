"""ImageNet as it is unpacked: one folder of JPEGs or PNGs per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from tasks.data.imagenet.crops import decode
from tasks.data.imagenet.source import Source, numbered
from tasks.data.source import is_image, read_bytes
from tasks.errors import UserError
from tasks.files import digest


class ClassFolders(Source):
    """`n01440764/n01440764_10026.JPEG` and so on; classes are the sorted folder names."""

    format = "class folders"

    def __init__(self, path: Path) -> None:
        """List all images. Raises UserError at a class without images, or at anything that is no image."""
        classes: list[str] = []
        self._names: list[str] = []
        for entry in _visible(path):
            if entry.is_dir():
                names = _images(Path(entry.path))
                classes += [entry.name] * len(names)
                self._names += [f"{entry.name}/{name}" for name in names]
            elif is_image(entry.name):
                raise UserError(f"{entry.path} lies outside the class folders; fix: move it into one or away")
        labels, class_names = numbered(classes)
        super().__init__(path, labels, digest(self._names), class_names)

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.path / self._names[index])

    def read(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield images `start` ... `stop - 1`."""
        for index in range(start, stop):
            name = self.name(index)
            yield decode(read_bytes(Path(name)), name)


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder without hidden files, by name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)


def _images(folder: Path) -> list[str]:
    """List the images of one class; UserError if there is none, or if something else is among them."""
    names = [entry.name for entry in _visible(folder)]
    strangers = [name for name in names if not is_image(name)]
    if strangers:
        hint = " (name the folder whose subfolders are the classes)" if (folder / strangers[0]).is_dir() else ""
        raise UserError(f"{folder / strangers[0]} is no JPEG or PNG image of a class{hint}; fix: move it away")
    if not names:
        raise UserError(f"class folder {folder} is empty; fix: unpack that class again")
    return names
