"""The picture of a comparison: one row for each noise and condition, the teacher's image first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.core.files import whole_file
from bench.evaluation.sheet import Sheet, read_sheet
from bench.report.drawing import FAINT, GAP, INK, LINE, MARGIN, PAPER, font_of, tile, wrapped, zoom_of
from bench.report.selection import Selection
from bench.report.sides import Found, Side
from bench.runs.evidence.files import evidence_of
from bench.runs.evidence.sheets import can_have_sheet, ensure_sheet, preparer
from bench.runs.given.plan import is_given

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue

NARROWEST = 116
"""Width of a column at least, in pixels, for its title."""
CAPTION = 220
"""Width of the captions at most, in pixels."""


@dataclass(frozen=True)
class Column:
    """A column of the picture."""

    title: str
    sheet: Sheet
    outside: bool = False
    """Whether its images come from outside, and so not from the noise of the others."""

    def fits(self, other: Column) -> bool:
        """Say whether rows have the same noise and condition; or the same caption, if one is from outside."""
        mine, its = self.sheet, other.sheet
        named = (self.outside or other.outside) and bool(mine.captions) and mine.captions == its.captions
        return mine.images.shape[1:] == its.images.shape[1:] and (mine.noise == its.noise or named)


def columns_of(
    sides: Sequence[Side],
    selection: Selection,
    catalogue: Catalogue,
    cache: Path | None,
    say: Callable[[str], None],
) -> list[Column]:
    """Return a column for each side, samplers of the teacher first; one is added if no side is a sampler.

    A method with several training seeds shows the first that has a sheet. A missing sheet is made if the student
    is on disk, and `say` reports it. Raises UserError if one is missing, or if two are not of the same noise.
    """
    prepare = preparer(catalogue, cache)
    ordered = sorted(sides, key=lambda side: side.first.kind == "method")
    titled = [_shown(side) for side in ordered]
    if ordered[0].first.kind == "method":
        teacher = _teacher(selection, sides[0])
        if teacher is None:
            task = sides[0].first.task
            fix = f"fix: bench eval --task {task} --sampler NAME"
            say(f"no sampler of the teacher is shown, since none has a sample sheet; {fix}")
        else:
            titled.insert(0, (teacher.record.method.name, teacher))
    columns = []
    for title, found in titled:
        path = ensure_sheet(found.record, found.path, catalogue, prepare, say)
        columns.append(Column(title, read_sheet(path), is_given(found.record.sampler)))
    base = columns[0]
    for column in columns[1:]:
        if not column.fits(base):
            raise UserError(
                f"the sample sheets of {base.title} and {column.title} are not of the same noise and conditions; "
                "fix: evaluate both with this version, or leave out --sheet"
            )
    return columns


def _shown(side: Side) -> tuple[str, Found]:
    """Return the title and the result of a side's column."""
    if len(side.found) == 1:
        return side.label, side.found[0]
    found = next((one for one in side.found if evidence_of(one.path).sheet), side.found[0])
    return f"{side.label}, seed\u00a0{found.record.train_seed}", found  # the number stays with its word


def _teacher(selection: Selection, side: Side) -> Found | None:
    """Return a sampler of the teacher that was measured as a side was, and has a sheet or can get one."""
    first = side.first
    found = [
        one
        for one in selection.loaded
        if one.record.kind == "baseline" and not is_given(one.record.sampler)
        if one.record.protocol_sha256 == first.protocol_sha256
        if one.record.networks_sha256 == first.networks_sha256 and can_have_sheet(one.record, one.path)
    ]
    return min(found, key=lambda one: (evidence_of(one.path).sheet is None, one.record.method.name), default=None)


def draw_comparison(columns: Sequence[Column], rows: int, path: Path) -> None:
    """Write a lossless PNG file with a title for each column, and a captioned row for each of the first noises."""
    from PIL import Image, ImageDraw

    info = columns[0].sheet.info
    rows = min(rows, *(len(column.sheet.images) for column in columns))
    zoom = zoom_of(info.height, info.width)
    height, width = zoom * info.height, zoom * info.width
    font, bold = font_of("DejaVuSans.ttf"), font_of("DejaVuSans-Bold.ttf")
    cell = max(width, NARROWEST)
    named = [info.caption(row) or f"noise {row + 1}" for row in range(rows)]
    captions = [wrapped(text, font, CAPTION, height // LINE) for text in named]
    titles = [wrapped(column.title, bold, cell, 5) for column in columns]
    left = MARGIN + round(max(font.getlength(line) for lines in captions for line in lines)) + 2 * GAP
    top = MARGIN + LINE * max(map(len, titles)) + GAP
    shared = "condition, not noise" if any(column.outside for column in columns) else "noise and condition"
    foot = wrapped(f"Each row has the same {shared}.", font, len(columns) * (cell + GAP) + left, 3)
    size = (
        left + len(columns) * (cell + GAP) + MARGIN,
        top + rows * (height + GAP) + GAP + LINE * len(foot) + MARGIN,
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    for number, (column, lines) in enumerate(zip(columns, titles, strict=True)):
        x = left + number * (cell + GAP)
        for line, text in enumerate(lines):
            draw.text((x, top - GAP - LINE * (len(lines) - line)), text, INK, bold)
        for row in range(rows):
            picture.paste(tile(column.sheet.images[row], zoom), (x, top + row * (height + GAP)))
    for row, lines in enumerate(captions):
        begin = top + row * (height + GAP) + (height - LINE * len(lines)) // 2
        for line, text in enumerate(lines):
            draw.text((MARGIN, begin + LINE * line), text, FAINT, font)
    for line, text in enumerate(foot):
        draw.text((MARGIN, size[1] - MARGIN - LINE * (len(foot) - line)), text, FAINT, font)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
