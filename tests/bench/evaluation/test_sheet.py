"""Sample sheets: what is written is read back to the bit, and other files are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench.core.errors import UserError
from bench.core.run_folder import SHEET
from bench.evaluation.sheet import CHUNK, Sheet, read_sheet, read_sheet_info, sheet_size, write_sheet
from bench.runs.evidence.files import evidence_of
from bench.runs.plan import BaselineRun, Run
from bench.runs.runner import Runner


def images(count: int, channels: int = 3, height: int = 6, width: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (7, 3), (10, 1), (23, 3), (50, 1)])
def test_a_sheet_is_read_back_to_the_bit(tmp_path: Path, count: int, channels: int) -> None:
    captions = tuple(f"<b>{number}</b> \x1b \u202e" for number in range(count))
    sheet = Sheet(images(count, channels), captions, "ab")
    write_sheet(tmp_path / "sheet.png", sheet)
    found = read_sheet(tmp_path / "sheet.png")
    assert np.array_equal(found.images, sheet.images)
    assert (found.captions, found.noise) == (captions, "ab")
    assert read_sheet_info(tmp_path / "sheet.png") == sheet.info


def test_a_sheet_of_large_images_has_fewer() -> None:
    assert sheet_size(10_000, 14, 14) == 50
    assert sheet_size(12, 14, 14) == 12
    assert sheet_size(10_000, 1024, 1024) == 4
    assert sheet_size(10_000, 4096, 4096) == 1


def described(path: Path, text: str, size: tuple[int, int] = (5, 6)) -> Path:
    info = PngInfo()
    info.add_itxt(CHUNK, text)
    Image.new("L", size).save(path, pnginfo=info)
    return path


GOOD = {"count": 1, "columns": 1, "width": 5, "height": 6, "captions": [], "noise": "ab"}


@pytest.mark.parametrize(
    "change", [{"count": 2}, {"width": 6}, {"columns": 0}, {"captions": ["a", "b"]}, {"noise": 3}, {"more": 1}]
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    read_sheet(described(tmp_path / "good.png", json.dumps(GOOD)))
    with pytest.raises(UserError, match=r"bad\.png"):
        read_sheet(described(tmp_path / "bad.png", json.dumps(GOOD | change)))


def test_files_that_are_no_sheets_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    write_sheet(tmp_path / "whole.png", Sheet(images(20), (), "ab"))
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("plain", "text", "cut"):
        with pytest.raises(UserError, match=rf"{name}\.png"):
            read_sheet(tmp_path / f"{name}.png")
    described(tmp_path / "deep.png", "[" * 100_000)
    with pytest.raises(UserError, match=r"deep\.png"):
        read_sheet_info(tmp_path / "deep.png")


def test_student_and_teacher_show_the_same_noise_and_conditions(
    runner: Runner, plan: Callable[..., Run], tmp_path: Path
) -> None:
    run = plan()
    runner.run(run)
    task = runner.prepared.task
    teacher = BaselineRun(task, tmp_path, next(iter(task.baselines.values())))
    runner.baseline(teacher)
    mine, theirs = read_sheet(run.folder / SHEET), read_sheet(teacher.folder / SHEET)
    assert mine.noise == theirs.noise
    assert mine.captions == theirs.captions
    assert not np.array_equal(mine.images, theirs.images)
    assert evidence_of(run.record).sheet == run.folder / SHEET
    assert evidence_of(run.record).curves is not None
    assert evidence_of(teacher.record).curves is None
