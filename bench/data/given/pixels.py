"""The pixels of a given image, exactly as they are: nothing is resized, converted or repaired."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.data.altered import UPRIGHT, orientation
from bench.data.decoding import MAX_IMAGE_BYTES, PNG_DEPTH, PNG_MAGIC, refuse_missing_rows

LOSSY = ("JPEG", "WEBP")
"""Formats whose images are, or may be, not the pixels that a model made."""
PNG_END, JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"


class OddImageError(Exception):
    """An image that cannot be measured as it is."""

    def __init__(self, kind: str, detail: str) -> None:
        """`kind` is what is wrong, the same for all such images; `detail` is this image's."""
        super().__init__(f"{kind} ({detail})")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, eq=False)
class Pixels:
    """A decoded image."""

    levels: np.ndarray
    """[C, H, W] uint8."""
    format: str
    """PNG, JPEG or WEBP."""


def decode_exactly(data: bytes, shape: tuple[int, int, int]) -> Pixels:
    """Decode an image of a shape [C, H, W]: 8-bit RGB for 3 channels, 8-bit grey for 1.

    Raises OddImageError if it is damaged, cut short, of another size or mode, or more than one picture.
    """
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    if len(data) > MAX_IMAGE_BYTES:
        raise OddImageError("too large to be read", f"{len(data):,} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            kind = str(image.format)
            if image.size != (width, height):
                raise OddImageError(f"of another size than {width}x{height}", f"{image.width}x{image.height}")
            if data.startswith(PNG_MAGIC) and data[PNG_DEPTH] != 8:
                raise OddImageError("not of 8 bits", f"{data[PNG_DEPTH]} bits")
            if image.mode != mode or "transparency" in image.info:
                found = f"{image.mode} with transparency" if "transparency" in image.info else image.mode
                raise OddImageError(f"not of the mode {mode} ({'grey' if channels == 1 else 'colour'})", found)
            if getattr(image, "n_frames", 1) > 1:
                raise OddImageError("animations", f"{getattr(image, 'n_frames', 1)} pictures")
            image.load()  # now: reading a PNG's EXIF data would load it, and hide that it cannot be decoded
            if (turned := orientation(image)) != UPRIGHT:
                raise OddImageError("turned by EXIF data, which are not applied", f"orientation {turned}")
            levels = np.array(image)
            refuse_missing_rows(data, image)
    except OddImageError:
        raise
    except Image.UnidentifiedImageError:
        raise OddImageError("no PNG, JPEG or WebP", f"{len(data):,} bytes") from None
    except Exception as error:  # Pillow raises many types on damaged bytes; each means that this image is bad
        raise OddImageError("damaged or cut short", str(error) or type(error).__name__) from None
    if (end := {"PNG": PNG_END, "JPEG": JPEG_END}.get(kind)) and end not in data[-1024:]:
        raise OddImageError("damaged or cut short", f"a {kind} without its end")
    return Pixels(levels.reshape(height, width, channels).transpose(2, 0, 1), kind)
