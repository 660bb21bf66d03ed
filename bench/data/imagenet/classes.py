"""ImageNet as captioned images: a caption is the number of a class, and latents are packed as all others."""

from __future__ import annotations

from collections.abc import Iterator

from bench.core.files import digest
from bench.data.altered import Decoded
from bench.data.imagenet.pack import check_labels
from bench.data.imagenet.source import Source
from bench.data.text.captioned import Captioned


class ClassImages(Captioned[Decoded]):
    """The images of a labelled source, each with the number of its class as its caption."""

    def __init__(self, source: Source, classes: int) -> None:
        """Raises UserError if there are no images or if the labels do not fit `classes` classes."""
        check_labels(source, classes)
        labels = source.labels.tolist()
        index = digest([source.index_sha256, labels])
        super().__init__(source.path, [str(label) for label in labels], index, source.skipped)
        self.source = source
        self.format = source.format  # type: ignore[misc]

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        return self.source.read(start, stop)

    def close(self) -> None:
        self.source.close()
