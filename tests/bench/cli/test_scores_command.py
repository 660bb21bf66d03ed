"""`bench scores` and `--keep` from the command line: images by class, and the worst of them as a sheet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Printed
from PIL import Image
from tests_support import TINY_PLUGIN

from bench.core.files import digest
from bench.core.progress import SilentProgress
from bench.core.run_folder import KEPT, OLD_SCORES, RECORD, SCORES
from bench.evaluation.image_scores import read_scores
from bench.evaluation.kept import kept_pixels
from bench.runs.plan import BaselineRun
from bench.runs.records import read_record, write_record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask

Bench = Callable[..., Printed]
TINY = ("--plugin", str(TINY_PLUGIN))


@pytest.fixture(scope="module")
def once(catalogue: Catalogue, tiny: PreparedTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sampler's evaluation that kept its images, made once for this file."""
    run = BaselineRun(tiny.task, tmp_path_factory.mktemp("runs"), next(iter(tiny.task.baselines.values())))
    Runner(catalogue, tiny, SilentProgress(), keep=["images"]).baseline(run)
    return run.folder


@pytest.fixture
def evaluated(once: Path, tmp_path: Path) -> Path:
    """The same among the runs of a test."""
    folder = tmp_path / "runs" / "tiny" / once.name
    shutil.copytree(once, folder)
    return folder


def test_images_are_split_by_class_and_the_worst_are_drawn(bench: Bench, evaluated: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "worst.png"
    options = ("--metric", "accuracy", "--by", "class", "--worst", "6", "--sheet", str(sheet), *TINY)
    shown = bench("scores", str(evaluated), *options)
    assert shown.code == 0, shown.text
    assert "### Accuracy ↑\n\n| class | prompts | mean | 95 % interval |" in shown.text
    assert f"### {evaluated.name}: worst in Accuracy ↑" in shown.text and f"sheet: {sheet}" in shown.text
    kept = np.asarray(Image.open(sheet))

    data = json.loads(bench("scores", str(evaluated), "--by", "class", "--worst", "6", "--json", *TINY).text)
    scores = read_scores(evaluated / SCORES)["accuracy"]
    assert sum(group["images"] for group in data["groups"] if group["metric"] == "accuracy") == len(scores)
    places = [(one["repetition"], one["index"]) for one in data["images"] if one["metric"] == "accuracy"]
    wrong = np.flatnonzero(scores.value == 0)[:6]
    assert places == list(zip(scores.repetition[wrong].tolist(), scores.index[wrong].tolist(), strict=True))

    pixels = kept_pixels(evaluated / KEPT / "images" / f"repetition-{places[0][0]}.zip", places[0][1])
    enlarged = pixels.repeat(12, axis=0).repeat(12, axis=1)[..., 0]
    first_tile = (kept[top : top + 96, 16:112, 0] for top in range(16, 90))
    assert any(np.array_equal(one, enlarged) for one in first_tile), "every pixel is what it was, only larger"
    shutil.rmtree(evaluated / KEPT)
    again = bench("scores", str(evaluated), *options)
    assert "has no kept images; preparing tiny and making 6 from their seeds" in again.text
    made = np.asarray(Image.open(sheet))
    assert np.array_equal(kept[60:], made[60:]), "the same images, to the bit, below a title that says where from"
    assert not np.array_equal(kept, made)


def test_a_metric_under_another_protocol_of_the_run_is_named(bench: Bench, evaluated: Path) -> None:
    """As of a student of COCO that was measured on OCR prompts: its folder stands for its own result."""
    own = read_record(evaluated / RECORD)
    metrics = [own.metrics[0].model_copy(update={"name": "ocr"})]
    protocol = {**own.protocol, "name": "ocr-bench"}
    changed = {"metrics": metrics, "protocol": protocol, "protocol_sha256": digest(protocol)}
    other = own.model_copy(update=changed)
    write_record(evaluated / "protocols" / "ocr-bench-0123456789ab.json", other)
    refused = bench("scores", str(evaluated), "--metric", "ocr").text
    assert "'ocr'; it was measured by it under ocr-bench; fix: --protocol ocr-bench" in refused


def test_csv_reads_back_and_several_runs_stand_side_by_side(bench: Bench, evaluated: Path) -> None:
    header, line, *_ = bench("scores", str(evaluated), "--metric", "accuracy", "--csv").text.splitlines()
    assert header == "metric,run,group,prompts,images,mean,low,high"
    values = read_scores(evaluated / SCORES)["accuracy"].value
    assert line.split(",")[:2] == ["accuracy", evaluated.name]
    assert float(line.split(",")[5]) == pytest.approx(values.mean(), rel=1e-12)
    other = evaluated.with_name(f"{evaluated.name}-copy")
    shutil.copytree(evaluated, other)
    shown = bench("scores", str(evaluated), str(other), "--metric", "accuracy")
    assert "| result | images | prompts | mean | 95 % interval |" in shown.text


def test_what_was_finished_before_keeps_nothing_and_says_so(bench: Bench, evaluated: Path) -> None:
    sampler = read_record(evaluated / RECORD).method.name
    found = bench("eval", "--task", "tiny", "--sampler", sampler, "--keep", "features", *TINY)
    assert found.code == 0
    assert "was finished before, and no features are kept now; fix: " in found.text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--by", "clas"], "unknown split 'clas'; did you mean 'class'"),
        (["--by", "category"], "these prompts have no categories; fix: --by length"),
        (["--metric", "clip"], "unknown metric with scores of"),
        (["--sheet", "a.png"], "fix: --worst 16 --sheet worst.png"),
        (["--worst", "2", "--sheet", "a.jpg"], "fix: --worst 16 --sheet worst.png"),
        (["--csv", "--json"], "fix: leave one out"),
    ],
)
def test_bad_input_is_explained(bench: Bench, evaluated: Path, words: list[str], problem: str) -> None:
    found = bench("scores", str(evaluated), *words, *TINY)
    assert found.code == 2 and problem in found.text


def test_a_run_without_scores_or_with_old_ones_says_so(bench: Bench, evaluated: Path) -> None:
    scores = read_scores(evaluated / SCORES)["accuracy"]
    columns = (scores.repetition.tolist(), scores.index.tolist(), scores.value.tolist())
    lines = [f"accuracy,{repetition},{index},{value!r}" for repetition, index, value in zip(*columns, strict=True)]
    (evaluated / OLD_SCORES).write_text("\n".join(["metric,repetition,index,value", *lines]))
    (evaluated / SCORES).unlink()
    assert "| all | 120 |" in bench("scores", str(evaluated)).text
    assert "an earlier version wrote them" in bench("scores", str(evaluated), "--by", "class").text
    (evaluated / OLD_SCORES).unlink()
    assert "has no scores of single images beside its record; fix: " in bench("scores", str(evaluated)).text


@pytest.mark.parametrize("kind", ["image", "images,feature"])
def test_only_images_and_features_are_kept(bench: Bench, kind: str) -> None:
    found = bench("run", "--task", "tiny", "--keep", kind, *TINY)
    assert found.code == 2 and "unknown kind of file for --keep" in found.text
