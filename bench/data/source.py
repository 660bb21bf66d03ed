"""What every form of a data set is to the packing: items in a fixed order."""

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
"""What a source holds: images, or arrays."""

MAX_BYTES = 2**30
"""Largest file or member that is read whole into memory: lists of captions and labels; images are far smaller."""


class ItemSource(ABC, Generic[Item]):
    """Items, numbered in an order that depends on nothing but their names. Close it after use."""

    format: ClassVar[str]
    """What people call this form."""

    def __init__(self, path: Path, count: int, index_sha256: str, skipped: Mapping[str, int] = {}) -> None:
        """Hold what is known without decoding an item.

        `index_sha256` is a hash of the names of all items and of what else tells this source from another
        cheaply. `skipped` counts the files that are no items, by kind.
        """
        self.path = path
        self.index_sha256 = index_sha256
        self.skipped = dict(skipped)
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

    def tally(self) -> str:
        """Count what was found, for people: files in all, items, and what was skipped."""
        found = len(self) + sum(self.skipped.values())
        return f"{found:,} found in {self.path}: {len(self):,} to pack, {described(self.skipped)}"

    def close(self) -> None:
        """Release open files; most sources keep none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Files(NamedTuple):
    """Files that were found, and how many others were skipped, by kind."""

    paths: list[Path]
    skipped: Counter[str]


def files_under(folder: Path) -> Files:
    """Find all files under a folder, in order of their paths: those in linked folders too.

    Hidden files and litter are skipped and counted, a skipped folder as one. A link back to a folder that it
    lies in is not followed.
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

    Raises UserError at an image of a kind that is not read, and at an archive: left out silently, nobody would
    miss it.
    """
    files, skipped = files_under(folder)
    skipped.update(other_kind(file.name, str(file)) for file in files if not is_image(file.name))
    return Files([file for file in files if is_image(file.name)], skipped)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises UserError if it is larger, cannot be read, or is no regular file: a named pipe would never end.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody to write to it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UserError(f"{path} is no regular file; fix: remove it, or put the file itself there")
            if about.st_size > limit:
                raise UserError(
                    f"{path} has {human_size(about.st_size)}, more than the {human_size(limit)} that are read at "
                    "once; fix: name the right file"
                )
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; fix: restore it and run again") from error
