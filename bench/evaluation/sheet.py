"""The sample sheet of a result: its first images in one lossless PNG file, which also says what they are of.

Images of two results in the same place have the same noise and condition if the sheets' `noise` is equal.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from bench.core.errors import UserError
from bench.core.files import digest, read_bytes, whole_file
from bench.metrics.result import Model

COLUMNS = 10
MOST_IMAGES = 50
MOST_PIXELS = 2**22
"""A sheet of large images has fewer of them."""
CHUNK = "bench-sheet"
"""Keyword of the PNG text chunk with a sheet's description."""


class SheetInfo(Model):
    """The description of a sheet, which its file contains."""

    version: Literal[1] = 1
    count: int = Field(ge=1, le=MOST_IMAGES)
    columns: int = Field(ge=1, le=COLUMNS)
    width: int = Field(ge=1, le=2**13)
    """Width of one image, in pixels."""
    height: int = Field(ge=1, le=2**13)
    captions: list[str]
    """The condition of each image in words: its class or prompt; empty where conditions have no words."""
    noise: str
    """Digest of all that decides the images' noise and conditions."""
    made_by: str = ""
    """`maker_digest` of what made the images; empty in sheets of earlier versions."""

    @property
    def rows(self) -> int:
        """The number of rows of images."""
        return -(-self.count // self.columns)

    def caption(self, position: int) -> str:
        """Return the words of an image's condition, or an empty text."""
        return self.captions[position] if position < len(self.captions) else ""


@dataclass(frozen=True, eq=False)
class Sheet:
    """The first images of a result."""

    images: np.ndarray
    """[n, H, W, C] uint8; C is 1 or 3."""
    captions: tuple[str, ...]
    noise: str
    made_by: str = ""

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3) or not len(self.images):
            raise ValueError(f"images of a sheet must be uint8 [n, H, W, 1 or 3], got {self.images.dtype} {shape}")
        if len(self.captions) not in (0, len(self.images)):
            raise ValueError(f"{len(self.captions)} captions for {len(self.images)} images")

    @property
    def info(self) -> SheetInfo:
        """The description that the file contains."""
        count, height, width, _ = self.images.shape
        columns = min(COLUMNS, count)
        return SheetInfo(
            count=count,
            columns=columns,
            width=width,
            height=height,
            captions=list(self.captions),
            noise=self.noise,
            made_by=self.made_by,
        )


def maker_digest(weights_sha256: str, sampler: Mapping[str, Any]) -> str:
    """Return the digest by which a sheet says what made its images: weights, and a record's `sampler`."""
    return digest({"weights": weights_sha256, "sampler": dict(sampler)})


def sheet_size(samples: int, height: int, width: int) -> int:
    """Return how many images of this size a sheet has, of at most `samples`."""
    return max(1, min(samples, MOST_IMAGES, MOST_PIXELS // (height * width)))


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write a sheet as a PNG file that appears whole; places without an image are black."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = sheet.info
    tiles = np.zeros((info.rows * info.columns, *sheet.images.shape[1:]), np.uint8)
    tiles[: info.count] = sheet.images
    grid = tiles.reshape(info.rows, info.columns, info.height, info.width, -1).swapaxes(1, 2)
    pixels = grid.reshape(info.rows * info.height, info.columns * info.width, -1)
    described = PngInfo()
    described.add_itxt(CHUNK, info.model_dump_json(), zip=True)
    with whole_file(path) as temporary:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            temporary, format="PNG", optimize=True, pnginfo=described
        )


def read_sheet_info(path: Path) -> SheetInfo:
    """Read a sheet's description without its images. Raises UserError if the file is no sheet."""
    return _opened(path)[0]


def read_sheet(path: Path) -> Sheet:
    """Read a sheet. Raises UserError if the file is no sheet, or damaged."""
    info, image = _opened(path)
    try:
        pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged data
        raise UserError(f"{path}: the sample sheet cannot be read: {error}; fix: make it again") from None
    pixels = pixels.reshape(info.rows, info.height, info.columns, info.width, -1).swapaxes(1, 2)
    images = pixels.reshape(-1, info.height, info.width, pixels.shape[-1])[: info.count]
    return Sheet(images, tuple(info.captions), info.noise, info.made_by)


def _opened(path: Path) -> tuple[SheetInfo, Any]:
    """Return a sheet's description and its image, whose pixels are not decoded yet."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(read_bytes(path)), formats=("PNG",))
        info = SheetInfo.model_validate(json.loads(image.info[CHUNK]))
    except KeyError:
        raise UserError(f"{path} is no sample sheet: it does not describe itself; fix: give a sheet.png") from None
    except (OSError, SyntaxError, ValueError, RecursionError, ValidationError, Image.DecompressionBombError):
        raise UserError(f"{path} is no sample sheet, or damaged; fix: give a sheet.png that bench wrote") from None
    size = (info.columns * info.width, info.rows * info.height)
    if image.size != size or image.mode not in ("L", "RGB") or len(info.captions) not in (0, info.count):
        raise UserError(
            f"{path}: the sheet's description does not fit its image of {image.size}; fix: make it again"
        )
    return info, image
