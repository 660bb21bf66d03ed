"""The data set of the scenes, as the task declares it; importing it builds no caption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.progress import Progress
from bench.data.base import PublishedDataset
from tasks.fashion.data import locate

if TYPE_CHECKING:
    from bench.data.images import Splits


def load(folder: Path | None, cache: Path, download: bool, progress: Progress | None) -> Splits:
    """Compose the scenes, whose captions are built only now. Raises UserError as `tasks.fashion.data.load`."""
    from tasks.scenes import data

    return data.load(folder, cache, download, progress)


SCENES = PublishedDataset(
    "scenes",
    "two coloured items of Fashion-MNIST at 16x16, with captions: 60,000 for training, 10,000 held out",
    "MIT (Zalando Research, Fashion-MNIST)",
    "apt-get install dataset-fashion-mnist, or bench prepare --task scenes --data FOLDER or --download",
    locate,
    load,
)
