"""Real images for the micro tasks: where they are found, how they are checked, how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.core.progress import Progress

if TYPE_CHECKING:
    from bench.data.images import Splits


class DataSet(Protocol):
    """What each data module has; importing it costs nothing."""

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Say where the data is, or None; cheap and without numpy, for `bench describe` and `bench doctor`."""

    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return the images, from `folder`, `cache` or, with `download`, from where they are published."""
