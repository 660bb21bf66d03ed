"""What every form of ImageNet is to the packing: labelled images in a fixed order."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tasks.errors import UserError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


class Source(ABC):
    """Labelled images, numbered in an order that depends on nothing but their names. Close it after use."""

    format: ClassVar[str]
    """What people call this form."""

    def __init__(
        self, path: Path, labels: np.ndarray, index_sha256: str, class_names: Sequence[str] | None = None
    ) -> None:
        """Hold what is known without decoding an image.

        `labels` [N] int64 as stored, not yet checked against the number of classes; `index_sha256` is a hash
        of the names of all images and of what else tells this source from another cheaply.
        """
        self.path = path
        self.labels = labels
        self.index_sha256 = index_sha256
        self.class_names = tuple(class_names) if class_names is not None else None

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def name(self, index: int) -> str:
        """Say where image `index` is, for messages."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield images `start` ... `stop - 1` in RGB. Several threads may read at once.

        Raises UserError, which names the image, where one is missing or damaged.
        """

    def close(self) -> None:  # noqa: B027 (most sources keep nothing open)
        """Release open files."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_image(name: str) -> bool:
    """Say whether a file's name is that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def numbered(class_of_each: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return each image's label [N] int64, its class's place among the sorted names, and those names."""
    names, labels = np.unique(np.asarray(class_of_each, dtype=np.str_), return_inverse=True)
    return labels.astype(np.int64), [str(name) for name in names]


def optional_module(name: str, purpose: str) -> Any:
    """Import a module of the extra `imagenet`; UserError with the command that installs it if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs {name.partition('.')[0]}, which cannot be imported ({error}); "
            "mend: pip install 'distillation-bench[imagenet]'"
        ) from error
