"""The data set of the scenes, as the task declares it; importing it builds no caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.progress import Progress
from bench.data.base import Dataset
from tasks.fashion import data as fashion

if TYPE_CHECKING:
    from bench.data.images import Splits


@dataclass(frozen=True)
class Scenes(Dataset):
    """The scenes of `tasks.scenes.data`, whose captions are made only when they are read."""

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Return the path of its files, or None."""
        return fashion.locate(folder, cache)

    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return its two splits. Raises UserError if they are missing or damaged."""
        from tasks.scenes.data import load

        return load(folder, cache, download, progress)


SCENES = Scenes(
    "scenes",
    "two coloured items of Fashion-MNIST at 16x16, with captions: 60,000 for training, 10,000 held out",
    "MIT (Zalando Research, Fashion-MNIST)",
    "apt-get install dataset-fashion-mnist, or bench prepare --task scenes --data FOLDER or --download",
)
