"""The picture of a comparison: its images are those of the sheets, enlarged by a whole number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import UserError
from bench.core.run_folder import RECORD, SHEET
from bench.evaluation.sheet import Sheet, write_sheet
from bench.report.comparison.sheet import Column, columns_of, draw_comparison
from bench.report.selection import Selection
from bench.report.sides import Found, Side
from bench.runs.record import Record
from bench.runs.records import Loaded, write_record
from bench.runs.registry import load_catalogue


def sheet(
    seed: int, count: int = 12, noise: str = "ab", channels: int = 1, captions: tuple[str, ...] = ()
) -> Sheet:
    images = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, channels), dtype=np.uint8)
    return Sheet(images, captions, noise)


def places(picture: np.ndarray, image: np.ndarray, zoom: int) -> list[tuple[int, int]]:
    """Return the places (row, column) of an image in the picture."""
    large = np.broadcast_to(
        image.repeat(zoom, 0).repeat(zoom, 1), (image.shape[0] * zoom, image.shape[1] * zoom, 3)
    )
    windows = np.lib.stride_tricks.sliding_window_view(picture, large.shape)[:, :, 0]
    likely = np.logical_and.reduce(
        [(windows[:, :, y, x] == large[y, x]).all(axis=-1) for y, x in ((0, 0), (-1, -1), (0, -1), (-1, 0))]
    )
    return [(y, x) for y, x in np.argwhere(likely).tolist() if np.array_equal(windows[y, x], large)]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_in_its_row_and_column(tmp_path: Path, channels: int) -> None:
    columns = [Column(f"method {number}", sheet(number, channels=channels)) for number in range(3)]
    draw_comparison(columns, 4, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    found = [[places(picture, column.sheet.images[row], 12)[0] for column in columns] for row in range(4)]
    for row in found:
        assert len({y for y, _ in row}) == 1, "one row has one noise"
        assert [x for _, x in row] == sorted({x for _, x in row}), "columns are in their order"
    assert not places(picture, columns[0].sheet.images[4], 12), "only as many rows as asked for"


def test_long_and_hostile_text_stays_inside(tmp_path: Path) -> None:
    captions = tuple(f"a \x1b[31m{'very ' * 40}{'long' * 60}\n\u202e caption" for _ in range(3))
    columns = [
        Column("x" * 300 + "\u202e", sheet(0, 3, captions=captions)),
        Column("", sheet(1, 3, captions=captions)),
    ]
    draw_comparison(columns, 50, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    edge = np.concatenate(
        [picture[:8].ravel(), picture[-8:].ravel(), picture[:, :8].ravel(), picture[:, -8:].ravel()]
    )
    assert (edge == 255).all()


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Found]:
    """Return a function that writes a record, with a sheet unless it is None."""

    def write(record: Record, beside: Sheet | None) -> Found:
        folder = tmp_path / record.run_id
        write_record(folder / RECORD, record)
        if beside is not None:
            write_sheet(folder / SHEET, beside)
        return Found(record, folder / RECORD)

    return write


def columns(sides: list[Side], *more: Found) -> tuple[list[Column], list[str]]:
    every = [*more, *(one for side in sides for one in side.found)]
    selection = Selection(Loaded([one.record for one in every], [], [one.path for one in every]))
    said: list[str] = []
    return columns_of(sides, selection, load_catalogue(), None, said.append), said


def test_the_teacher_comes_first(make_record: Callable[..., Record], recorded: Callable[..., Found]) -> None:
    teacher = recorded(make_record("teacher-ode", None, kind="baseline"), sheet(0))
    sides = [Side(name, (recorded(make_record(name), sheet(1)),)) for name in ("dmd2", "gan")]
    assert [one.title for one in columns(sides, teacher)[0]] == ["teacher-ode", "dmd2", "gan"]
    sides.append(Side("the ODE", (teacher,)))
    assert [one.title for one in columns(sides)[0]] == ["the ODE", "dmd2", "gan"]


def test_a_missing_teacher_is_said(make_record: Callable[..., Record], recorded: Callable[..., Found]) -> None:
    shown, said = columns([Side(name, (recorded(make_record(name), sheet(1)),)) for name in ("dmd2", "gan")])
    assert len(shown) == 2
    assert said == [
        "no sampler of the teacher is shown, since none has a sample sheet; "
        "fix: bench eval --task fashion --sampler NAME"
    ]


def test_a_method_shows_its_first_seed_with_a_sheet(
    make_record: Callable[..., Record], recorded: Callable[..., Found]
) -> None:
    seeds = tuple(recorded(make_record(seed=seed), sheet(1) if seed else None) for seed in (0, 1, 2))
    shown, _ = columns([Side("dmd2", seeds), Side("gan", (recorded(make_record("gan"), sheet(1)),))])
    assert shown[0].title == "dmd2, seed\u00a01"


def test_another_noise_is_refused_by_name(
    make_record: Callable[..., Record], recorded: Callable[..., Found]
) -> None:
    sides = [Side(name, (recorded(make_record(name), sheet(1, noise=name)),)) for name in ("dmd2", "gan")]
    with pytest.raises(UserError, match="of dmd2 and gan are not of the same noise and conditions; fix"):
        columns(sides)


def test_a_missing_sheet_is_named_with_the_command_that_makes_it(
    make_record: Callable[..., Record], recorded: Callable[..., Found]
) -> None:
    sides = [Side(name, (recorded(make_record(name, recipe={"lr": 1e-5}), None),)) for name in ("dmd2", "gan")]
    with pytest.raises(
        UserError, match=r"has no sample sheet \(sheet.png\).*fix: bench run --method dmd2"
    ) as error:
        columns(sides)
    assert "--task fashion --seed 0 --set lr=1e-05" in str(error.value)
