"""The picture of worst or best images: each with its score, its prompt and its reason below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.files import whole_file
from bench.report.drawing import FAINT, GAP, INK, LINE, MARGIN, PAPER, font_of, tile, wrapped, zoom_of

COLUMNS = 4
LARGEST = 320
"""Larger images are reduced to this size, in pixels; a sheet is for looking, and not for measuring."""
NARROWEST = 160
"""Width of a column at least, in pixels, for its text."""
PROMPT_LINES, REASON_LINES = 3, 3


@dataclass(frozen=True)
class Labelled:
    """A tile of the sheet."""

    image: np.ndarray
    """[H, W, 1 or 3] uint8."""
    score: str
    prompt: str
    reason: str


def draw_scored(title: str, tiles: Sequence[Labelled], path: Path) -> None:
    """Write a PNG file with the tiles in rows of four, under a title that says what they are."""
    from PIL import Image, ImageDraw

    zoom = zoom_of(*tiles[0].image.shape[:2])
    pictures = [tile(one.image, zoom) for one in tiles]
    for picture in pictures:
        picture.thumbnail((LARGEST, LARGEST))
    cell = max(NARROWEST, *(picture.width for picture in pictures))
    height = max(picture.height for picture in pictures)
    font, bold = font_of("DejaVuSans.ttf"), font_of("DejaVuSans-Bold.ttf")
    texts = [
        [
            *((line, bold, INK) for line in wrapped(one.score, bold, cell, 2)),
            *((line, font, INK) for line in wrapped(one.prompt, font, cell, PROMPT_LINES)),
            *(
                (line, font, FAINT)
                for line in (wrapped(one.reason, font, cell, REASON_LINES) if one.reason else [])
            ),
        ]
        for one in tiles
    ]
    columns = min(COLUMNS, len(tiles))
    width = columns * (cell + 2 * GAP) + 2 * MARGIN
    heading = wrapped(title, bold, width - 2 * MARGIN, 3)
    lines = [max(map(len, texts[start : start + columns])) for start in range(0, len(tiles), columns)]
    tops = [MARGIN + LINE * len(heading) + GAP]
    for count in lines:
        tops.append(tops[-1] + height + LINE * count + 3 * GAP)
    sheet = Image.new("RGB", (width, tops[-1] + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, text in enumerate(heading):
        draw.text((MARGIN, MARGIN + LINE * line), text, INK, bold)
    for number, (picture, written) in enumerate(zip(pictures, texts, strict=True)):
        x, y = MARGIN + number % columns * (cell + 2 * GAP), tops[number // columns]
        sheet.paste(picture, (x, y))
        for line, (text, face, colour) in enumerate(written):
            draw.text((x, y + height + GAP // 2 + LINE * line), text, colour, face)
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
