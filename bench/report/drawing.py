"""What pictures of images with captions are drawn with: sizes, colours, fonts, enlarged images, broken lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.escape import printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

SMALLEST = 96
"""Tiny images are enlarged by a whole number until they are about this large, in pixels."""
GAP, MARGIN, LINE, SIZE = 6, 16, 18, 14
"""Pixels between images, around all, of a line of text, and of its letters."""
INK, FAINT, PAPER = (20, 20, 20), (100, 100, 100), (255, 255, 255)


def zoom_of(height: int, width: int) -> int:
    """Return the whole number by which images of a size are enlarged."""
    return max(1, round(SMALLEST / max(height, width)))


def tile(image: np.ndarray, zoom: int) -> Image:
    """Return an image [H, W, 1 or 3] with every pixel repeated `zoom` times."""
    from PIL import Image

    large = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return Image.fromarray(large.squeeze(-1) if large.shape[-1] == 1 else large)


def font_of(name: str) -> FreeTypeFont:
    """Return a font by its file, one of those that come with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), SIZE)


def wrapped(text: str, font: FreeTypeFont, width: int, most: int) -> list[str]:
    """Break text into at most `most` lines of a width in pixels, within long words too; the rest becomes dots."""
    lines = [""]
    for word in re.findall(r"[^ -]*(?:-| |$)", printable(text)):
        if font.getlength((lines[-1] + word).rstrip()) > width and lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter.rstrip()) > width:
                lines.append("")
            lines[-1] += letter
    lines = [line.strip() for line in lines]
    most = max(1, most)
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last}…"]
    return lines
