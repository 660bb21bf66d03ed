"""The common interface of real data for text-to-image tasks: items with a caption each, in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bench.core.errors import UserError
from bench.data.plain import is_unicode, kind_of
from bench.data.source import ItemSource
from bench.data.text.prompts import COLUMNS, caption_column

Item = TypeVar("Item", covariant=True)


class Captioned(ItemSource[Item]):
    """A source of images or latents with captions."""

    def __init__(
        self, path: Path, captions: Sequence[str], index_sha256: str, skipped: Mapping[str, int] = {}
    ) -> None:
        """Store what is known without decoding an item; `index_sha256` covers the captions too.

        Raises UserError if there are no items, or if a caption cannot be written as UTF-8.
        """
        if not captions:
            raise UserError(f"{path} holds no images; fix: name a complete copy of the data set")
        super().__init__(path, len(captions), index_sha256, skipped)
        self.captions = tuple(captions)
        self.empty_captions = sum(not caption.strip() for caption in captions)
        """Number of captions that are empty or blank; these images are trained on without a text."""
        for index, caption in enumerate(captions):
            if not is_unicode(caption):
                raise UserError(
                    f"the caption of {self.name(index)} holds half a character (a lone surrogate); "
                    "fix: write it again"
                )


def caption_in(record: object, where: str) -> str:
    """Return the caption of a JSON object: its `prompt`, `caption` or `text`. Raises UserError if it has none."""
    column = caption_column(record) if isinstance(record, dict) else None
    if column is None or not isinstance(record, dict) or not isinstance(record[column], str):
        found = ", ".join(record) if isinstance(record, dict) else kind_of(record)
        raise UserError(
            f"{where} has {found or 'nothing'} but no text under {', '.join(COLUMNS)}; fix: write it there"
        )
    caption: str = record[column]
    return caption
