"""The data set of a micro task: real images in two splits. Imports neither torch nor numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.progress import Progress

if TYPE_CHECKING:
    from bench.data.images import Splits


@dataclass(frozen=True)
class SplitHashes:
    """Hashes of the images of both splits."""

    train: str
    held_out: str


@dataclass(frozen=True)
class Dataset(ABC):
    """A data set as it is declared: where it is found, and how its images are read."""

    name: str
    summary: str
    licence: str
    fix: str
    """The command that gets the data."""

    def kept(self, cache: Path) -> SplitHashes | None:  # noqa: ARG002 (published data sets are what they are)
        """Return the hashes of the images that a user brought and `keep` kept; None for published data sets."""
        return None

    def keep(self, folder: Path, cache: Path, progress: Progress) -> None:
        """Keep the images of a user's folder, where the data set is made of such. Raises UserError."""
        del folder, cache, progress  # a published data set keeps none

    @abstractmethod
    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Return where the data is, or None; cheap and without numpy, for `bench describe` and `bench doctor`."""

    @abstractmethod
    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return the images, from `folder`, `cache` or, with `download`, from where they are published.

        Raises UserError if they are not there, or are damaged.
        """


Locator = Callable[[Path | None, Path], Path | None]
"""The folder that the user names, if any, and the cache -> where the data is, as `Dataset.locate`."""
Loader = Callable[[Path | None, Path, bool, Progress | None], "Splits"]
"""Reads the images, as `Dataset.load`."""


@dataclass(frozen=True)
class PublishedDataset(Dataset):
    """A data set that two functions find and read."""

    locator: Locator
    loader: Loader

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Return the path of its files, or None."""
        return self.locator(folder, cache)

    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return its two splits. Raises UserError if they are missing or damaged."""
        return self.loader(folder, cache, download, progress)
