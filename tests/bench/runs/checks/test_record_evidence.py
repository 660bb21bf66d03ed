"""The files beside a record are read, and must belong to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_records import COMMITTED, EXAMPLE, Written

from bench.core.files import digest
from bench.evaluation.image_scores import SingleScores, read_scores, write_scores
from bench.evaluation.sheet import Sheet, maker_digest, write_sheet
from bench.features.statistics import mean_and_covariance
from bench.metrics.frechet import frechet_distance
from bench.runs.checks.beside import FEATURES, FULL_RANK, TAILS, normal_bias
from bench.runs.checks.check import Checker

VALUES = EXAMPLE["metrics"][4]["values"]
"""Accuracy: a score of single images."""
SAMPLES = EXAMPLE["protocol"]["samples"]
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


def scored(values: np.ndarray, **words: np.ndarray) -> SingleScores:
    """Scores [repetitions, SAMPLES], one for each image."""
    repetitions, images = np.indices(values.shape)
    return SingleScores.of(repetitions.ravel(), images.ravel(), values.ravel(), **words)


def accuracy_scores(**words: np.ndarray) -> SingleScores:
    """Scores of which the record's values are the means: the first images are right."""
    right = np.round(np.array(VALUES) * SAMPLES)[:, None]
    return scored((np.arange(SAMPLES) < right).astype(float), **words)


def images(count: int = 4) -> np.ndarray:
    """Different images, uint8 [n, 8, 8, 1]."""
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)


def test_a_good_sheet_and_good_curves_and_scores_have_no_finding(checker: Checker, record: Path) -> None:
    write_sheet(record.with_suffix(".png"), Sheet(images(), (), "ab"))
    record.with_suffix(".jsonl").write_text(CURVES)
    write_scores(record.with_suffix(".parquet"), {"accuracy": accuracy_scores()})
    assert found_beside(checker, record) == []
    assert not any("no sample sheet" in str(one) for one in checker.check_file(record).findings)


def test_scores_of_a_mean_of_tasks_have_the_mean_that_its_diagnostic_says(
    checker: Checker, written: Written
) -> None:
    """GenEval's value is a mean over tasks of different sizes, and so not that of its images."""
    record = written({"metrics.4.diagnostics": [{"mean_of_images": 0.25}] * len(VALUES)})
    scores = scored(np.tile([1.0, 0.0, 0.0, 0.0], (len(VALUES), SAMPLES // 4)))
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
    write_scores(path, {"accuracy": scored(np.full((3, SAMPLES), 0.25))})
    (line,) = found_beside(checker, record)
    assert (
        f"{path.name}: the mean of accuracy in repetition 0 is 0.25, but the record says {VALUES[0]:.9g}" in line
    )
    path.write_bytes(path.read_bytes()[:-9])
    (line,) = found_beside(checker, record)
    assert line.startswith("error: ") and "no parquet file, or cut short" in line


def chosen(scores: SingleScores, rows: np.ndarray) -> SingleScores:
    return SingleScores(**{name: column[rows] for name, column in vars(scores).items()})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (slice(SAMPLES), "no scores of accuracy in repetition 1, which the record has"),
        (slice(2 * SAMPLES), "no scores of accuracy in repetition 2, which the record has"),
    ],
)
def test_scores_of_some_repetitions_are_an_error(checker: Checker, record: Path, rows: slice, said: str) -> None:
    write_scores(
        record.with_suffix(".parquet"), {"accuracy": chosen(accuracy_scores(), np.arange(3 * SAMPLES)[rows])}
    )
    (line,) = found_beside(checker, record)
    assert line.startswith("error: ") and said in line


def test_scores_of_some_images_are_an_error_whatever_their_mean(checker: Checker, record: Path) -> None:
    """Ten images with the right mean are not the 1,800 of the protocol, nor one for each of its prompts."""
    for indices in (np.arange(10), np.arange(10) * (SAMPLES // 10)):
        scores = SingleScores.of(np.repeat(np.arange(3), 10), np.tile(indices, 3), np.repeat(VALUES, 10))
        write_scores(record.with_suffix(".parquet"), {"accuracy": scores})
        (line,) = found_beside(checker, record)
        assert "10 scores of accuracy in repetition 0 are not of all its 1,800 images" in line


def test_scores_of_other_seeds_than_the_protocols_are_an_error(checker: Checker, record: Path) -> None:
    seeds = np.arange(3 * SAMPLES).astype(object)
    write_scores(record.with_suffix(".parquet"), {"accuracy": accuracy_scores(seed=seeds)})
    assert found_beside(checker, record) == []
    write_scores(record.with_suffix(".parquet"), {"accuracy": accuracy_scores(seed=seeds + 50_000)})
    (line,) = found_beside(checker, record)
    assert "image 0 of accuracy in repetition 0 has the seed 50000, but the protocol's is 0" in line


def test_scores_with_another_spread_than_the_records_are_an_error(checker: Checker, tmp_path: Path) -> None:
    """Scores that are moved between prompts keep their mean and change its error."""
    record = sorted((COMMITTED / "scenes").glob("*.parquet"))[0].with_suffix(".json")
    for name in (record.name, record.with_suffix(".parquet").name):
        (tmp_path / name).write_bytes(record.with_name(name).read_bytes())
    copy = tmp_path / record.name
    assert found_beside(checker, copy) == []
    scores = dict(read_scores(copy.with_suffix(".parquet")))
    one = scores["alignment"]
    order = np.concatenate([r * 2500 + np.argsort(one.value[r * 2500 : (r + 1) * 2500]) for r in range(3)])
    write_scores(copy.with_suffix(".parquet"), scores | {"alignment": replace(one, value=one.value[order])})
    (line,) = found_beside(checker, copy)
    assert "the standard error of alignment in repetition 0 is" in line


def test_a_sheet_and_scores_of_other_prompts_are_a_warning(checker: Checker, record: Path) -> None:
    prompts = np.array(["a cat", "a dog"] * (3 * SAMPLES // 2), dtype=object)
    write_scores(record.with_suffix(".parquet"), {"accuracy": accuracy_scores(prompt=prompts)})
    for captions, wrong in ((("a cat", "a dog"), 0), (("a cat", "a cow"), 1)):
        write_sheet(record.with_suffix(".png"), Sheet(images(2), captions, "ab"))
        found = found_beside(checker, record)
        assert len(found) == wrong
    assert "warning: " in found[0] and "image 1 of accuracy is of 'a dog', but in the sheet of 'a cow'" in found[0]


def test_a_sheet_that_other_weights_made_is_an_error(checker: Checker, record: Path) -> None:
    own = maker_digest(EXAMPLE["checkpoint"]["sha256"], EXAMPLE["sampler"])
    write_sheet(record.with_suffix(".png"), Sheet(images(), (), "ab", own))
    assert found_beside(checker, record) == []
    for other in (maker_digest("0" * 64, EXAMPLE["sampler"]), maker_digest(EXAMPLE["checkpoint"]["sha256"], {})):
        write_sheet(record.with_suffix(".png"), Sheet(images(), (), "ab", other))
        (line,) = found_beside(checker, record)
        assert (
            line.startswith("error: ") and "its images were made by other weights, or by another sampler" in line
        )


@pytest.mark.parametrize(
    ("during", "samples", "trace", "wrong"),
    [
        (1.1, 1000, 0.0, 0),
        (2.1, 1000, 0.0, 1),
        (2.1, 1000, 2.0, 0),  # in FDs: fewer images of a good student may add so much
        (9.9, 1000, 2.0, 1),
        (2.1, 1000, None, 0),  # of an earlier version
        (0.4, 1000, None, 1),
        (0.4, 1000, 2.0, 1),
        (9.9, 100, 2.0, 0),
    ],
)
def test_curves_of_another_run_have_another_fd_at_the_end(
    during: float, samples: int, trace: float | None, wrong: int, checker: Checker, written: Written
) -> None:
    """FD of fewer images is higher, but where they are many not by more than traces and counts allow."""
    metric = EXAMPLE["metrics"][0]
    value = metric["values"][0]
    known = {} if trace is None else {"generated_trace": trace * value}
    diagnostics = [one | known for one in metric["diagnostics"]]
    record = written({"metrics": [{**metric, "diagnostics": diagnostics}]})
    line = {"iteration": 1500, "fd": value * during, "fd_samples": samples}
    record.with_suffix(".jsonl").write_text(json.dumps(line) + "\n")
    found = [one for one in found_beside(checker, record) if "FD at iteration 1500 was" in one]
    assert len(found) == wrong


@pytest.mark.parametrize("tails", [1, 2, 3])
def test_fewer_images_of_the_right_distribution_add_no_more_to_an_fd(tails: int) -> None:
    """Of normal features, and of powers of half a normal distribution, whose tails are heavy."""
    random, images = np.random.default_rng(0), FULL_RANK * FEATURES
    sizes = np.exp(-np.arange(FEATURES) / 16)

    def drawn(count: int) -> np.ndarray:
        normal = random.normal(size=(count, FEATURES)) * sizes
        return normal if tails == 1 else np.maximum(normal, 0) ** tails

    real = mean_and_covariance(drawn(50_000))
    found = [frechet_distance(*mean_and_covariance(drawn(images)), *real).value for _ in range(20)]
    most = normal_bias(float(np.trace(real[1])), FEATURES, images)
    assert max(found) < (most if tails == 1 else TAILS * most)
    assert max(found) > most / 2, "the bound is no larger than it has to be"


def test_a_result_under_another_protocol_has_no_sheet_to_ask_for(checker: Checker, written: Written) -> None:
    """An evaluation that is added to a run draws none, so that `bench records pack` has none to take."""
    own, sha256 = EXAMPLE["run_id"], EXAMPLE["protocol_sha256"]
    asked = [
        any("no sample sheet" in str(one) for one in checker.check_file(written({"run_id": name})).findings)
        for name in (own, f"{own}-{digest([own, sha256])[:6]}")
    ]
    assert asked == [True, False]


def test_a_student_that_the_lowest_fd_did_not_select_is_an_error(checker: Checker, written: Written) -> None:
    best = {
        "run_id": f"{EXAMPLE['run_id']}-best",
        "checkpoint.selection": "best-by-test-metric",
        "checkpoint.iteration": 900,
    }
    record = written(best)
    value = EXAMPLE["metrics"][0]["values"][0]

    def errors(*distances: tuple[int, float]) -> list[str]:
        lines = [json.dumps({"iteration": at, "fd": fd, "fd_samples": 1000}) for at, fd in distances]
        record.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
        return [one for one in found_beside(checker, record) if one.startswith("error: ")]

    assert errors((450, value + 2), (900, value), (1500, value + 1)) == []
    (line,) = errors((450, value - 2), (900, value), (1500, value + 1))
    assert "iteration 900 was selected by the lowest FD" in line and "at iteration 450" in line
    (line,) = errors((450, value + 2), (1500, value))
    assert "iteration 900 was selected by its FD, but none was measured there" in line
