"""What every form of a data set is to the packing: items in a fixed order."""

from __future__ import annotations

import mimetypes
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

from tasks.errors import UserError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")

Item = TypeVar("Item", covariant=True)
"""What a source holds: images, or arrays."""


class ItemSource(ABC, Generic[Item]):
    """Items, numbered in an order that depends on nothing but their names. Close it after use."""

    format: ClassVar[str]
    """What people call this form."""

    def __init__(self, path: Path, count: int, index_sha256: str) -> None:
        """Hold what is known without decoding an item.

        `index_sha256` is a hash of the names of all items and of what else tells this source from another
        cheaply.
        """
        self.path = path
        self.index_sha256 = index_sha256
        self._count = count

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def name(self, index: int) -> str:
        """Say where item `index` is, for messages."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Item]:
        """Yield items `start` ... `stop - 1`; images in RGB. Several threads may read at once.

        Raises UserError, which names the item, where one is missing or damaged.
        """

    def close(self) -> None:
        """Release open files; most sources keep none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_image(name: str) -> bool:
    """Say whether a file's name is that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def files_under(folder: Path) -> list[Path]:
    """Find all files under a folder, in order of their paths: those in linked folders too, hidden ones left out.

    A link back to a folder that it lies in is not followed.
    """
    found = []
    for place, folders, names in os.walk(folder.absolute(), followlinks=True):
        above = {parent.resolve() for parent in (Path(place), *Path(place).parents)}
        shown = (name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if (Path(place) / name).resolve() not in above]
        inside = folder / Path(place).relative_to(folder.absolute())
        found += [inside / name for name in names if not name.startswith(".")]
    return sorted(found)


def images_under(folder: Path) -> list[Path]:
    """Find all images among `files_under` a folder.

    Raises UserError at one of a kind that is not read: left out silently, nobody would miss it.
    """
    files = files_under(folder)
    for file in files:
        kind = mimetypes.guess_type(file.name)[0] or ""
        if kind.startswith("image/") and not is_image(file.name):
            raise UserError(
                f"{file} is {kind}, and only {', '.join(IMAGE_SUFFIXES)} are read; fix: convert or remove it"
            )
    return [file for file in files if is_image(file.name)]


def read_bytes(path: Path) -> bytes:
    """Read a file; UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; fix: restore it and run again") from error
