"""The common interface of all forms of ImageNet: labelled images in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.data.altered import Decoded
from bench.data.source import ItemSource


class Source(ItemSource[Decoded]):
    """A source of labelled images."""

    def __init__(
        self,
        path: Path,
        labels: np.ndarray,
        index_sha256: str,
        class_names: Sequence[str] | None = None,
        skipped: Mapping[str, int] = {},
    ) -> None:
        """Store what is known without decoding an image.

        `labels` [N] int64 are those of the files; `check_labels` compares them with the number of classes.
        """
        super().__init__(path, len(labels), index_sha256, skipped)
        self.labels = labels
        self.class_names = tuple(class_names) if class_names is not None else None


def numbered(class_of_each: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return each image's label [N] int64, the position of its class in the sorted names, and those names."""
    names, labels = np.unique(np.asarray(class_of_each, dtype=np.str_), return_inverse=True)
    return labels.astype(np.int64), [str(name) for name in names]
