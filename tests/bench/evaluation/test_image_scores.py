"""Scores of single images: the file of a run has every value to the bit, and damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.run_folder import SCORES
from bench.evaluation.image_scores import by_prompt, read_scores, scores_of, write_scores
from bench.metrics.base import Measured
from bench.runs.evidence import evidence_of
from bench.runs.plan import BaselineRun
from bench.runs.runner import Runner


def measured(*scores: float, images: int | None = None) -> Measured:
    return Measured(sum(scores), images or len(scores), {}, scores)


def test_scores_are_read_back_to_the_bit(tmp_path: Path) -> None:
    repetitions = [
        {"clip": measured(0.1, 1 / 3, -1e-300), "fd": Measured(3.0, 3, {}), "diversity": measured(0.5, images=3)},
        {"clip": measured(5e-324, 1.0, 2.0), "fd": Measured(3.5, 3, {}), "diversity": measured(0.25, images=3)},
    ]
    scores = scores_of(repetitions)
    first, second = (0.1, 1 / 3, -1e-300), (5e-324, 1.0, 2.0)
    rows = enumerate((first, second))
    assert scores["clip"] == {(row, index): value for row, ones in rows for index, value in enumerate(ones)}
    assert scores["diversity"] == {(0, 0): 0.5, (1, 0): 0.25}, "one for a group of images, at its first image"
    assert "fd" not in scores
    write_scores(tmp_path / SCORES, scores)
    assert read_scores(tmp_path / SCORES) == scores


def test_a_metric_without_scores_in_some_repetition_has_none() -> None:
    """A repetition that an earlier version measured has no scores; half of them would pair wrongly."""
    assert scores_of([{"clip": measured(1.0)}, {"clip": Measured(1.0, 1, {})}]) == {}
    assert scores_of([]) == {}


def test_no_scores_make_no_file(tmp_path: Path) -> None:
    write_scores(tmp_path / SCORES, {})
    assert not (tmp_path / SCORES).exists()


HEAD = "metric,repetition,index,value\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the first line is not"),
        ("clip,0,0,1.0\n", "the first line is not"),
        (HEAD + "clip,0,0\n", "line 2 is no metric"),
        (HEAD + "=clip(),0,0,1.0\n", "line 2 is no metric"),
        (HEAD + "clip,0,0,nan\n", "line 2 has the value nan"),
        (HEAD + "clip,0,0,1\nclip,0,0,2\n", "line 3 repeats"),
        (HEAD + "clip,-1,0,1\n", "'-1' is no count"),
        (HEAD + "clip,0," + "9" * 30 + ",1\n", "is no count"),
        (HEAD + "clip,0,0,much\n", "could not convert"),
        (HEAD + 'clip,0,0,"' + "1" * 200_000 + '"\n', "field larger than"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / SCORES).write_text(text)
    with pytest.raises(UserError, match=problem):
        read_scores(tmp_path / SCORES)
    (tmp_path / SCORES).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(tmp_path / SCORES)


def test_the_images_of_a_prompt_are_averaged_over_all_repetitions() -> None:
    scores = {(0, 0): 1.0, (0, 1): 3.0, (0, 2): 10.0, (0, 3): 20.0, (1, 0): 4.0, (1, 1): 4.0}
    assert by_prompt(scores, 2) == {0: 3.0, 1: 15.0}
    assert by_prompt(scores, 1)[0] == 2.5
    with pytest.raises(ValueError, match="0 images per prompt"):
        by_prompt(scores, 0)


def test_an_evaluation_leaves_its_scores_in_the_runs_folder(runner: Runner, tmp_path: Path) -> None:
    task = runner.prepared.task
    run = BaselineRun(task, tmp_path, next(iter(task.baselines.values())))
    record = runner.baseline(run)
    path = evidence_of(run.record).scores
    assert path is not None
    found = read_scores(path)
    for metric in record.metrics:
        if metric.name in found:
            values = list(found[metric.name].values())
            assert len(values) == task.protocol.samples * task.protocol.repetitions
            assert sum(values) / len(values) == pytest.approx(metric.value, rel=1e-12)
    assert "accuracy" in found
