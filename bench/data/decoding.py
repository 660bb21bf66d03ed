"""Decode the bytes of an image to RGB, and crop it by one of the two rules of the field."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image, features

from bench.core.errors import UserError
from bench.data.altered import Decoded, altered_by_rgb
from bench.data.kinds import IMAGE_KINDS
from bench.data.source import read_bytes

CropRule = Callable[[Image.Image, int], Image.Image]

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes that `convert("RGB")` maps to 0..255 correctly; it would clip 16-bit grey."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24
"""Position of the number of bits per channel in a PNG; Pillow opens 16-bit colours as modes of 8 bits."""
PNG_KIND, PNG_INTERLACED = 25, 28
"""Positions of the kind of pixels, and of whether rows are in another order."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of each kind of pixels."""
MAX_IMAGE_BYTES = 2**28
"""Largest encoded image that is decoded; the largest decoded one is Pillow's own limit, 179 million pixels."""

RGB_RULE = (
    "Pillow's convert('RGB') before the crop: grey three times, CMYK without a colour profile, alpha dropped"
)


def decode(data: bytes, name: str) -> Decoded:
    """Decode a JPEG, PNG or WebP to RGB by RGB_RULE; `name` is the image's name in messages.

    EXIF orientation is not applied, as is usual in the field; the result says so, and what the conversion lost.
    Raises UserError if the image is damaged, cut short, of another format, animated or of more than 8 bits per
    channel.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            problem = _unread(image, data)
            if not problem:
                rgb = image.convert("RGB")
                refuse_missing_rows(data, rgb)
                return Decoded(rgb, tuple(altered_by_rgb(image)))
    except Image.UnidentifiedImageError:
        problem = f"its {len(data):,} bytes are not a {IMAGE_KINDS} image"
    except Exception as error:  # Pillow raises many types on damaged bytes; each means that this image is bad
        problem = str(error) or type(error).__name__
    raise UserError(f"{name} cannot be decoded: {problem}; fix: replace it by the original and run again")


def refuse_missing_rows(data: bytes, image: Image.Image) -> None:
    """Raise OSError if a decoded `image` is a PNG that lacks its last rows, which Pillow makes black."""
    if not data.startswith(PNG_MAGIC) or data[PNG_INTERLACED]:
        return
    last = image.crop((0, image.height - 1, image.width, image.height))
    if last.getbbox() is None:  # decompressing again costs nearly as much as decoding
        row = 1 + (image.width * PNG_CHANNELS[data[PNG_KIND]] * data[PNG_DEPTH] + 7) // 8
        if (found := _inflated(data, image.height * row)) < image.height * row:
            raise OSError(f"it has {found // row} of {image.height} rows")


def _inflated(data: bytes, most: int) -> int:
    """Return the bytes of pixels that an intact PNG has, as far as `most`."""
    parts, at = [], len(PNG_MAGIC)
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        parts += [data[at + 8 : at + 8 + size]] if kind == b"IDAT" else []
        at += 12 + size if kind != b"IEND" else len(data)
    return len(zlib.decompressobj().decompress(b"".join(parts), most))


def decoded_files(paths: Iterable[Path]) -> Iterator[Decoded]:
    """Yield the images of files. Raises UserError that names the file if one is missing or damaged."""
    for path in paths:
        yield decode(read_bytes(path), str(path))


def decoded_parts(parts: Iterable[tuple[str, Path, int, int]]) -> Iterator[Decoded]:
    """Yield images inside other files, such as tars: each is a name for messages, the file, its offset and size.

    A file is opened once for all images that follow each other in it. Raises UserError as `decode` does.
    """
    for path, images in itertools.groupby(parts, lambda part: part[1]):
        with path.open("rb") as file:
            for name, _, offset, size in images:
                file.seek(offset)
                yield decode(file.read(size), name)


def _unread(image: Image.Image, data: bytes) -> str:
    """Return what a conversion to 8-bit RGB would silently lose; empty if nothing."""
    if len(data) > MAX_IMAGE_BYTES:
        return f"its {len(data):,} bytes are more than the {MAX_IMAGE_BYTES:,} that are read"
    if data.startswith(PNG_MAGIC) and data[PNG_DEPTH] > 8:
        return f"it has {data[PNG_DEPTH]} bits per channel, not 8"
    if image.mode not in EIGHT_BIT_MODES:
        return f"it has Pillow's mode {image.mode}, not 8 bits per channel"
    if (
        image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    ):  # the first picture of a camera's MPO is the image
        return f"it is an animation of {getattr(image, 'n_frames', 1)} pictures"
    return ""


def edm(image: Image.Image, size: int) -> Image.Image:
    """Crop the centre square of the shorter side, then resize with LANCZOS to `size` (EDM; protocol P1)."""
    return _centre(image, min(image.size)).resize((size, size), Image.Resampling.LANCZOS)


def adm(image: Image.Image, size: int) -> Image.Image:
    """Halve with BOX while both halves keep `size`, resize the shorter side with BICUBIC, crop the centre.

    The rule of ADM (Dhariwal and Nichol, arXiv:2105.05233); EDM2 calls it center-crop-dhariwal.
    """
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    whole = (round(image.width * scale), round(image.height * scale))
    return _centre(image.resize(whole, Image.Resampling.BICUBIC), size)


CROPS: Mapping[str, CropRule] = {"edm": edm, "adm": adm}


def decoder() -> str:
    """Return the names and versions of the libraries that decide the pixels."""
    jpeg = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    turbo = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    webp = features.version_module("webp")
    return f"Pillow {features.version_module('pil')}, {jpeg} {turbo}, libwebp {webp}"


def _centre(image: Image.Image, side: int) -> Image.Image:
    """Crop a square of `side` from the centre, rounded towards the top left."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
