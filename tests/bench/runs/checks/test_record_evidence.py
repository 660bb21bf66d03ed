"""The files beside a record are read, and must belong to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_records import EXAMPLE, Written

from bench.evaluation.image_scores import SingleScores, write_scores
from bench.evaluation.sheet import Sheet, write_sheet
from bench.runs.checks.check import Checker

VALUES = EXAMPLE["metrics"][4]["values"]
"""Accuracy: a score of single images."""
HEADER = "metric,repetition,index,value\n"
CURVES = '{"iteration": 10, "loss/a": 1.5}\n{"iteration": 10, "fd": 9.5, "fd_samples": 1000}\n'


@pytest.fixture
def record(written: Written) -> Path:
    """A record whose file has nothing beside it."""
    return written()


def found_beside(checker: Checker, record: Path) -> list[str]:
    """Return the findings on the files beside a record."""
    return [
        line for line in map(str, checker.check_file(record).findings) if not line.startswith("note: no sample")
    ]


def images(count: int = 4) -> np.ndarray:
    """Different images, uint8 [n, 8, 8, 1]."""
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)


def test_a_good_sheet_and_good_curves_and_scores_have_no_finding(checker: Checker, record: Path) -> None:
    write_sheet(record.with_suffix(".png"), Sheet(images(), (), "ab"))
    record.with_suffix(".jsonl").write_text(CURVES)
    seeds = np.repeat(np.arange(len(VALUES)), 3)
    scores = SingleScores.of(seeds, [0, 1, 2] * len(VALUES), np.repeat(VALUES, 3))
    write_scores(record.with_suffix(".parquet"), {"accuracy": scores})
    assert found_beside(checker, record) == []
    assert not any("no sample sheet" in str(one) for one in checker.check_file(record).findings)


def test_scores_of_a_mean_of_tasks_have_the_mean_that_its_diagnostic_says(
    checker: Checker, written: Written
) -> None:
    """GenEval's value is a mean over tasks of different sizes, and so not that of its images."""
    record = written({"metrics.4.diagnostics": [{"mean_of_images": 0.25}] * len(VALUES)})
    seeds = np.repeat(np.arange(len(VALUES)), 4)
    scores = SingleScores.of(seeds, [0, 1, 2, 3] * len(VALUES), [1.0, 0.0, 0.0, 0.0] * len(VALUES))
    write_scores(record.with_suffix(".parquet"), {"accuracy": scores})
    assert found_beside(checker, record) == []


def test_a_damaged_sheet_is_an_error(checker: Checker, record: Path) -> None:
    write_sheet(record.with_suffix(".png"), Sheet(images(), (), "ab"))
    content = record.with_suffix(".png").read_bytes()
    for broken in (b"", b"GIF89a", content[:-30], content[: len(content) // 2]):
        record.with_suffix(".png").write_bytes(broken)
        (line,) = found_beside(checker, record)
        assert line.startswith("error: ") and record.with_suffix(".png").name in line


def test_a_picture_that_is_no_sheet_is_an_error(checker: Checker, record: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(record.with_suffix(".png"))
    (line,) = found_beside(checker, record)
    assert "is no sample sheet: it does not describe itself" in line


def test_a_sheet_of_equal_images_is_a_warning(checker: Checker, record: Path) -> None:
    write_sheet(record.with_suffix(".png"), Sheet(images(1).repeat(4, axis=0), (), "ab"))
    (line,) = found_beside(checker, record)
    assert line.startswith("warning: ") and "all its images are the same" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no complete line"),
        ("not a line\n", "not a line of metrics"),
        ('{"iteration": 20}\n{"iteration": 10}\n', "iteration 10 comes after 20"),
        ('{"iteration": 10}\n{"iteration": 9000}\n', "iterations 10 to 9000, but training had 1500"),
        ('{"iteration": 10, "loss/<b>": NaN}\n', "'loss/<b>' is not finite at iteration 10"),
    ],
)
def test_curves_that_cannot_be_of_the_run(checker: Checker, record: Path, text: str, said: str) -> None:
    record.with_suffix(".jsonl").write_text(text)
    (line,) = found_beside(checker, record)
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the scores cannot be read: the first line is not metric,repetition,index,value"),
        ("sample,accuracy\n0,0.5\n", "the first line is not metric,repetition,index,value"),
        (
            f"{HEADER}accuracy,0,0,0.25\n",
            f"the mean of accuracy in repetition 0 is 0.25, but the record says {VALUES[0]:.9g}",
        ),
        (f"{HEADER}accuracy,0,0,=1+1\n", "could not convert string to float: '=1+1'"),
        (f"{HEADER}accuracy,0,0,nan\n", "accuracy of image 0 has the value nan"),
        (f"{HEADER}{'a' * 200_000},0,0,1\n", "field larger than field limit"),
        (f"{HEADER}accuracy\n", "line 2 is no metric with repetition, index and value"),
        (f"{HEADER}accuracy,7,0,1\n", "scores of 'accuracy' in repetition 7, which the record does not have"),
        (f"{HEADER}<b>,0,0,1\n", "'<b>' is no metric's name"),
        (f"{HEADER}other,0,0,1\n", "scores of 'other' in repetition 0, which the record does not have"),
    ],
)
def test_old_scores_that_disagree_with_the_record(checker: Checker, record: Path, text: str, said: str) -> None:
    record.with_suffix(".csv").write_text(text)
    (line,) = found_beside(checker, record)
    assert line.startswith("error: ") and said in line


def test_scores_that_disagree_with_the_record_or_are_damaged_are_an_error(checker: Checker, record: Path) -> None:
    path = record.with_suffix(".parquet")
    write_scores(path, {"accuracy": SingleScores.of([0, 0], [0, 1], [0.25, 0.25])})
    (line,) = found_beside(checker, record)
    assert (
        f"{path.name}: the mean of accuracy in repetition 0 is 0.25, but the record says {VALUES[0]:.9g}" in line
    )
    path.write_bytes(path.read_bytes()[:-9])
    (line,) = found_beside(checker, record)
    assert line.startswith("error: ") and "no parquet file, or cut short" in line
