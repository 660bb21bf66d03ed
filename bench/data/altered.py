"""What reading changes in images beyond the crop: it is counted, shown to the user, and kept in manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from PIL import ExifTags, Image

ENLARGED = "smaller than the resolution and enlarged"
TRANSPARENT = "with transparency, which was dropped"
TURNED = "with an EXIF rotation, which was not applied"
CMYK = "in CMYK, converted without a colour profile"
EMPTY_CAPTION = "with an empty caption"
UPRIGHT = 1
"""EXIF's orientation of an image that is stored as it is shown."""
OPAQUE = 255


class Decoded(NamedTuple):
    """An image in RGB, and what its conversion changed."""

    image: Image.Image
    altered: tuple[str, ...] = ()
    """Of TRANSPARENT, TURNED and CMYK, those that hold."""

    def altered_at(self, side: int) -> tuple[str, ...]:
        """Return what is changed in all if the image is resized to a square of `side` pixels."""
        return (*self.altered, ENLARGED) if min(self.image.size) < side else self.altered


def altered_by_rgb(image: Image.Image) -> Iterator[str]:
    """Yield what is lost when a decoded image is converted to RGB as it is stored."""
    # Drawing programs give most images an alpha channel; one that hides nothing is no loss.
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (OPAQUE, OPAQUE):
        yield TRANSPARENT
    if orientation(image) != UPRIGHT:
        yield TURNED
    if image.mode == "CMYK":
        yield CMYK


def orientation(image: Image.Image) -> int:
    """Return EXIF's number, 1 to 8, for how viewers turn and mirror an image; UPRIGHT if it says nothing."""
    try:
        found: object = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # Pillow raises many types on damaged EXIF data, by which viewers turn nothing
        return UPRIGHT
    return found if isinstance(found, int) and found in range(UPRIGHT, 9) else UPRIGHT


def described_altered(altered: Mapping[str, int], count: int, what: str) -> str:
    """Describe for people what was changed in `count` of `what`; empty if nothing was.

    `500 images: 8 smaller than the resolution and enlarged; 4 with transparency, which was dropped`
    """
    parts = "; ".join(f"{number:,} {how}" for how, number in sorted(altered.items()) if number)
    return f"{count:,} {what}: {parts}" if parts else ""
