"""What every form of ImageNet is to the packing: labelled images in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.source import ItemSource


class Source(ItemSource[Image.Image]):
    """Labelled images."""

    def __init__(
        self,
        path: Path,
        labels: np.ndarray,
        index_sha256: str,
        class_names: Sequence[str] | None = None,
        skipped: Mapping[str, int] = {},
    ) -> None:
        """Hold what is known without decoding an image.

        `labels` [N] int64 as stored, not yet checked against the number of classes.
        """
        super().__init__(path, len(labels), index_sha256, skipped)
        self.labels = labels
        self.class_names = tuple(class_names) if class_names is not None else None


def numbered(class_of_each: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return each image's label [N] int64, its class's place among the sorted names, and those names."""
    names, labels = np.unique(np.asarray(class_of_each, dtype=np.str_), return_inverse=True)
    return labels.astype(np.int64), [str(name) for name in names]
