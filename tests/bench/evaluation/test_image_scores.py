"""Scores of single images: the file of a run has every value to the bit, and damaged files are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.errors import UserError
from bench.core.run_folder import OLD_SCORES, SCORES
from bench.evaluation.image_labels import ImageLabels
from bench.evaluation.image_scores import (
    COLUMNS,
    SingleScores,
    by_prompt,
    mean_in,
    read_scores,
    same_images,
    scores_of,
    write_scores,
)
from bench.metrics.base import Measured
from bench.runs.evidence.files import evidence_of
from bench.runs.plan import BaselineRun
from bench.runs.runner import Runner

LABELS = [
    ImageLabels(["a cat", "a dog", "ein Hund «»"], ["animal", "animal", ""], first)
    for first in (100, 103)  # repetition 1 has the seeds that follow
]


def measured(*scores: float, images: int | None = None, reasons: tuple[str, ...] = ()) -> Measured:
    return Measured(sum(scores), images or len(scores), {}, scores, reasons)


def equal(one: SingleScores, other: SingleScores) -> bool:
    return all(np.array_equal(values, vars(other)[name]) for name, values in vars(one).items())


def test_scores_are_read_back_to_the_bit_with_what_they_are_of(tmp_path: Path) -> None:
    repetitions = [
        {
            "clip": measured(0.1, 1 / 3, -1e-300),
            "fd": Measured(3.0, 3, {}),
            "diversity": measured(0.5, images=3),
            "ocr": measured(1.0, 0.0, 1.0, reasons=("read 'OPEN'", "read 'CLOSED', not 'OPEN'", "read 'OPEN'")),
        },
        {
            "clip": measured(5e-324, 1.0, 2.0),
            "fd": Measured(3.5, 3, {}),
            "diversity": measured(0.25, images=3),
            "ocr": measured(1.0, 1.0, 1.0, reasons=("read 'OPEN'",) * 3),
        },
    ]
    scores = scores_of(repetitions, LABELS)
    clip, diversity = scores["clip"], scores["diversity"]
    assert clip.value.tolist() == [0.1, 1 / 3, -1e-300, 5e-324, 1.0, 2.0]
    assert clip.repetition.tolist() == [0, 0, 0, 1, 1, 1] and clip.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert clip.prompt.tolist() == ["a cat", "a dog", "ein Hund «»"] * 2
    assert clip.category.tolist() == ["animal", "animal", None] * 2
    assert clip.seed.tolist() == [100, 101, 102, 103, 104, 105]
    assert clip.reason.tolist() == [None] * 6
    assert (diversity.index.tolist(), diversity.value.tolist()) == ([0, 0], [0.5, 0.25]), "the group's first image"
    assert scores["ocr"].reason.tolist()[1] == "read 'CLOSED', not 'OPEN'"
    assert "fd" not in scores
    write_scores(tmp_path / SCORES, scores)
    found = read_scores(tmp_path / SCORES)
    assert list(found) == ["clip", "diversity", "ocr"]
    assert all(equal(found[name], one) for name, one in scores.items())


def test_other_tools_read_the_columns(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    write_scores(tmp_path / SCORES, scores_of([{"clip": measured(0.5, 1.5, 2.5)}], LABELS[:1]))
    frame = pd.read_parquet(tmp_path / SCORES)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.groupby("category")["value"].mean().to_dict() == {"animal": 1.0}
    assert frame["reason"].isna().all()


def test_images_that_were_given_have_no_seeds_and_may_have_no_words(tmp_path: Path) -> None:
    write_scores(tmp_path / SCORES, scores_of([{"clip": measured(1.0, 2.0)}], [ImageLabels()]))
    found = read_scores(tmp_path / SCORES)["clip"]
    assert found.seed.tolist() == found.prompt.tolist() == found.category.tolist() == [None, None]


def test_a_metric_without_scores_in_some_repetition_has_none() -> None:
    """A repetition that an earlier version measured has no scores; half of them would pair wrongly."""
    assert scores_of([{"clip": measured(1.0)}, {"clip": Measured(1.0, 1, {})}], LABELS) == {}
    assert scores_of([], []) == {}


def test_no_scores_make_no_file(tmp_path: Path) -> None:
    write_scores(tmp_path / SCORES, {})
    assert not (tmp_path / SCORES).exists()


def test_half_a_million_scores_are_read_in_a_second(tmp_path: Path) -> None:
    count = 500_000
    prompts = np.array([f"prompt {number}" for number in range(1000)], dtype=object)[np.arange(count) % 1000]
    write_scores(
        tmp_path / SCORES, {"clip": SingleScores.of([0] * count, range(count), [0.5] * count, prompt=prompts)}
    )
    begun = time.process_time()
    assert len(read_scores(tmp_path / SCORES)["clip"]) == count
    assert time.process_time() - begun < 1


# Bad files


def table(**columns: list[object]) -> pa.Table:
    """Return a file of two rows, with other columns in the place of good ones."""
    good = {
        "metric": ["clip", "clip"],
        "repetition": [0, 0],
        "index": [0, 1],
        "prompt": ["a cat", None],
        "category": [None, None],
        "seed": [7, None],
        "value": [0.5, 0.25],
        "reason": [None, "why"],
    }
    return pa.table({name: pa.array((good | columns)[name], kind) for name, kind in COLUMNS.items()})


def test_the_good_file_of_the_next_tests_is_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / SCORES)
    found = read_scores(tmp_path / SCORES)["clip"]
    assert (found.seed.tolist(), found.prompt.tolist()) == ([7, None], ["a cat", None])


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (lambda: table(value=[0.5, float("nan")]), "clip of image 1 has the value nan"),
        (lambda: table(value=[float("inf"), 0.5]), "clip of image 0 has the value inf"),
        (lambda: table(value=[None, 0.5]), "1 rows have no value"),
        (lambda: table(metric=["clip", None]), "1 rows have no metric"),
        (lambda: table(metric=["clip", "=clip()"]), r"'=clip\(\)' is no metric's name"),
        (lambda: table(index=[1, 1]), "image 1 of the metric clip is there twice"),
        (lambda: table(index=[0, -1]), "a negative repetition or index"),
        (lambda: table().drop_columns(["reason"]), "its columns are metric string, .*, not metric string"),
        (lambda: table().append_column("more", pa.array([1, 2])), "its columns are"),
        (lambda: table().set_column(6, "value", pa.array(["0.5", "0.25"])), "value string"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, bad: Callable[[], pa.Table], problem: str) -> None:
    pq.write_table(bad(), tmp_path / SCORES)
    with pytest.raises(UserError, match=rf"scores.parquet: the scores cannot be read: .*{problem}.*; fix: "):
        read_scores(tmp_path / SCORES)


def test_a_truncated_or_foreign_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / SCORES)
    whole = (tmp_path / SCORES).read_bytes()
    flipped = bytearray(whole)
    flipped[20] ^= 0xFF
    for content in (b"", b"PAR1", whole[:-5], whole[: len(whole) // 2], b"metric,repetition\n", bytes(flipped)):
        (tmp_path / SCORES).write_bytes(content)
        with pytest.raises(UserError, match="scores cannot be read"):
            read_scores(tmp_path / SCORES)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table(), tmp_path / SCORES)
    monkeypatch.setattr("bench.evaluation.image_scores.MOST_ROWS", 1)
    with pytest.raises(UserError, match=r"it has 2 rows of .* bytes, more than any evaluation gives"):
        read_scores(tmp_path / SCORES)
    monkeypatch.setattr("bench.evaluation.image_scores.MOST_BYTES", 10)
    with pytest.raises(UserError, match="it is larger than 10 B"):
        read_scores(tmp_path / SCORES)


# Files of earlier versions

HEAD = "metric,repetition,index,value\n"


def test_scores_that_an_earlier_version_wrote_are_read(tmp_path: Path) -> None:
    (tmp_path / OLD_SCORES).write_text(f"{HEAD}clip,0,0,0.1\nclip,0,1,{1 / 3!r}\nocr,0,0,1\n")
    found = read_scores(tmp_path / OLD_SCORES)
    assert found["clip"].value.tolist() == [0.1, 1 / 3] and found["ocr"].value.tolist() == [1.0]
    assert found["clip"].prompt.tolist() == [None, None]
    record = tmp_path / "record.json"
    assert evidence_of(record).scores == tmp_path / OLD_SCORES
    write_scores(tmp_path / SCORES, found)
    assert evidence_of(record).scores == tmp_path / SCORES, "the new file wins"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the first line is not"),
        ("clip,0,0,1.0\n", "the first line is not"),
        (HEAD + "clip,0,0\n", "line 2 is no metric"),
        (HEAD + "=clip(),0,0,1.0\n", "is no metric's name"),
        (HEAD + "clip,0,0,nan\n", "clip of image 0 has the value nan"),
        (HEAD + "clip,0,0,1\nclip,0,0,2\n", "image 0 of the metric clip is there twice"),
        (HEAD + "clip,-1,0,1\n", "'-1' is no count"),
        (HEAD + "clip,0," + "9" * 30 + ",1\n", "is no count"),
        (HEAD + "clip,0,0,much\n", "could not convert"),
        (HEAD + 'clip,0,0,"' + "1" * 200_000 + '"\n', "field larger than"),
    ],
)
def test_a_damaged_old_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / OLD_SCORES).write_text(text)
    with pytest.raises(UserError, match=problem):
        read_scores(tmp_path / OLD_SCORES)
    (tmp_path / OLD_SCORES).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(tmp_path / OLD_SCORES)


# What tests read


def test_the_images_of_a_prompt_are_averaged_over_all_repetitions() -> None:
    scores = SingleScores.of([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 1], [1.0, 3.0, 10.0, 20.0, 4.0, 4.0])
    prompts, means = by_prompt(scores, 2)
    assert (prompts.tolist(), means.tolist()) == ([0, 1], [3.0, 15.0])
    assert by_prompt(scores, 1)[1].tolist() == [2.5, 3.5, 10.0, 20.0]
    assert mean_in(scores, 1) == 4.0
    with pytest.raises(ValueError, match="0 images per prompt"):
        by_prompt(scores, 0)


def test_only_scores_of_the_same_images_are_paired() -> None:
    one = SingleScores.of([0, 0], [0, 1], [1.0, 2.0])
    assert same_images(one, SingleScores.of([0, 0], [1, 0], [5.0, 6.0])), "in any order"
    assert not same_images(one, SingleScores.of([0, 0], [0, 2], [1.0, 2.0]))
    assert not same_images(one, SingleScores.of([0], [0], [1.0]))


def test_an_evaluation_leaves_its_scores_in_the_runs_folder(runner: Runner, tmp_path: Path) -> None:
    task = runner.prepared.task
    run = BaselineRun(task, tmp_path, next(iter(task.baselines.values())))
    record = runner.baseline(run)
    path = evidence_of(run.record).scores
    assert path == run.folder / SCORES
    found = read_scores(path)
    for metric in record.metrics:
        if metric.name in found:
            assert len(found[metric.name]) == task.protocol.samples * task.protocol.repetitions
            assert found[metric.name].value.mean() == pytest.approx(metric.value, rel=1e-12)
    accuracy = found["accuracy"]
    assert accuracy.prompt.tolist()[:11] == [*"0123456789", "0"], "balanced classes, by their names"
    assert accuracy.seed.tolist() == list(
        range(task.protocol.first_seed, task.protocol.first_seed + len(accuracy))
    )
