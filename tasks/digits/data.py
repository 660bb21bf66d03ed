"""The data set of handwritten digits at 8x8, which is part of scikit-learn, so that nothing is downloaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.core.progress import Progress
from bench.data.base import PublishedDataset

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import Splits

HELD_OUT = 897
"""Images kept for the evaluation, of 1,797; the other 900 are for training."""
SPLIT_SEED = 0
INSTALL = "pip install scikit-learn"


def locate(folder: Path | None, cache: Path) -> Path | None:
    """Return scikit-learn's folder, or None if it is not installed; `cache` is not used.

    Raises UserError for a folder of the user's, from which nothing would be read.
    """
    del cache
    if folder is not None:
        raise UserError(f"digits are part of scikit-learn, and none are read from {folder}; fix: leave out --data")
    spec = importlib.util.find_spec("sklearn")
    return Path(spec.origin).parent if spec and spec.origin else None


def load(folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None) -> Splits:
    """Return 900 training and 897 held-out images [N, 1, 8, 8]; the arguments are not used.

    scikit-learn's values 0..16 become the grey levels round(v * 255 / 16), halves to even.
    Source: the test part of the UCI "Optical Recognition of Handwritten Digits" (CC BY 4.0).
    Raises UserError if scikit-learn is missing.
    """
    del download, progress
    found = locate(folder, cache)
    path = found and found / "datasets" / "data" / "digits.csv.gz"
    if path is None or not path.is_file():
        raise UserError(f"scikit-learn's digits are missing ({path or 'it is not installed'}); fix: {INSTALL}")
    import numpy as np

    from bench.data.images import LabelledImages, Splits

    values = np.loadtxt(path, delimiter=",")  # importing scikit-learn would take seconds in every job
    images = np.rint(values[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)[:, None]
    labels = values[:, -1].astype(np.int64)
    held_out = held_out_mask(labels, HELD_OUT, SPLIT_SEED)
    return Splits(
        train=LabelledImages.of(images[~held_out], labels[~held_out]),
        held_out=LabelledImages.of(images[held_out], labels[held_out]),
        source="scikit-learn",
    )


def held_out_mask(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Select `count` of `labels` [N] at random, each class by its share; return [N] bool.

    The labels are shuffled with numpy's default_rng(seed) and sorted by class, in shuffled order within each; then
    `count` places at equal distances are taken, so that each class is within 1 of its exact share.
    """
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    taken_before = np.arange(len(labels) + 1) * count // len(labels)
    mask = np.zeros(len(labels), dtype=bool)
    mask[by_class[np.diff(taken_before) == 1]] = True
    return mask


DIGITS = PublishedDataset(
    "digits",
    "scikit-learn's handwritten digits, 8x8: 900 for training, 897 held out",
    "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits, in scikit-learn)",
    "pip install scikit-learn",
    locate,
    load,
)
