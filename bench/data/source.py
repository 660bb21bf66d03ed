"""The common interface of all forms of a data set: items in a fixed order."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

from bench.core.errors import UserError
from bench.core.files import human_size
from bench.data.kinds import described, is_image, litter, other_kind

Item = TypeVar("Item", covariant=True)
"""The type of a source's items: images or arrays."""

MAX_BYTES = 2**30
"""Largest file or member that is read into memory at once: lists of captions and labels; images are smaller."""


class ItemSource(ABC, Generic[Item]):
    """Items that are numbered in an order that depends on their names alone. Close it after use."""

    format: ClassVar[str]
    """The usual name of this form."""

    def __init__(self, path: Path, count: int, index_sha256: str, skipped: Mapping[str, int] = {}) -> None:
        """Store what is known without decoding an item.

        `index_sha256` is a hash of the names of all items and of anything else that cheaply distinguishes this
        source from another. `skipped` counts the files that are not items, by kind.
        """
        self.path = path
        self.index_sha256 = index_sha256
        self.skipped = dict(skipped)
        self._count = count

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the location of item `index`, for messages."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Item]:
        """Yield items `start` ... `stop - 1`; images in RGB. Several threads may read at once.

        Raises UserError that names the item if one is missing or damaged.
        """

    def tally(self) -> str:
        """Describe the numbers of files, of items, and of skipped files, for people."""
        found = len(self) + sum(self.skipped.values())
        return f"{found:,} found in {self.path}: {len(self):,} to use, {described(self.skipped)}"

    def close(self) -> None:
        """Release open files; most sources keep none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Files(NamedTuple):
    """Files that were found, and the number of skipped files by kind."""

    paths: list[Path]
    skipped: Counter[str]


def files_under(folder: Path) -> Files:
    """Find all files under a folder, in order of their paths; linked folders are searched too.

    Hidden files and litter are skipped and counted, a skipped folder as one. A link back to one of its parent
    folders is not followed.
    """
    found, skipped = [], Counter[str]()
    for place, folders, names in os.walk(folder.absolute(), followlinks=True):
        above = {parent.resolve() for parent in (Path(place), *Path(place).parents)}
        skipped.update(kind for name in (*folders, *names) if (kind := litter(name)))
        folders[:] = [name for name in folders if not litter(name) and (Path(place) / name).resolve() not in above]
        inside = folder / Path(place).relative_to(folder.absolute())
        found += [inside / name for name in names if not litter(name)]
    return Files(sorted(found), skipped)


def images_under(folder: Path) -> Files:
    """Find all images among `files_under` a folder; other files are counted as skipped.

    Raises UserError at an archive and at an image of a kind that is not read, so that no image is left out
    silently.
    """
    files, skipped = files_under(folder)
    skipped.update(other_kind(file.name, str(file)) for file in files if not is_image(file.name))
    return Files([file for file in files if is_image(file.name)], skipped)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises UserError if it is larger, cannot be read, or is not a regular file: a named pipe would never end.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits until another process writes to it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UserError(
                    f"{path} is not a regular file; fix: move it elsewhere, or put the file itself there"
                )
            if about.st_size > limit:
                raise UserError(
                    f"{path} has {human_size(about.st_size)}, more than the {human_size(limit)} that are read at "
                    "once; fix: name the right file"
                )
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; fix: restore it and run again") from error
