"""Kept images and features: metrics that are added later read them, with the same numbers to the bit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.run_folder import KEPT
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.image_source import Generated, ImageSource, SampledImages
from bench.evaluation.kept import Keeping, KeptImages
from bench.evaluation.kept_features import read_features, write_features
from bench.features.batch import ImageBatch
from bench.features.views import Features
from bench.metrics.result import MetricResult
from bench.runs.registry import Catalogue
from bench.task.base import PreparedTask
from bench.task.protocol import MAIN
from bench.training.student_sampler import few_step_sampler

FIRST, ADDED = ("fd", "accuracy"), ("precision", "kid", "is")
"""Metrics of a first evaluation, and those that are added later; all read the same features."""


@dataclass
class Counted(ImageSource):
    """A source that counts the images that are asked of it."""

    source: ImageSource
    made: int = 0

    def __post_init__(self) -> None:
        self.repetitions = self.source.repetitions

    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        self.made += stop - start
        return self.source.batch(repetition, start, stop)


@dataclass
class Evaluation:
    """Evaluations of one student, whose files are kept in one folder."""

    prepared: PreparedTask
    catalogue: Catalogue
    folder: Path
    notes: list[str] = field(default_factory=list)
    runs: int = 0
    extracted: int = 0

    def __call__(
        self,
        *metrics: str,
        keep: tuple[str, ...] = (),
        read: bool = True,
        subject: str = "student",
        sampler: Mapping[str, Any] = {},
    ) -> tuple[list[MetricResult], int]:
        """Return the metrics' results, and the number of images that were made for them."""
        self.runs, self.extracted = self.runs + 1, 0
        infos = {name: self.catalogue.metrics.get(name) for name in metrics}
        evaluator = Evaluator(self.prepared, infos, SilentProgress())
        main = evaluator.spaces[MAIN]

        def counting(batch: ImageBatch) -> Features:
            self.extracted += len(batch)
            return main.extract(batch)

        evaluator.spaces = {**evaluator.spaces, MAIN: replace(main, extract=counting)}
        images = Counted(SampledImages(few_step_sampler(self.prepared.teacher, [999]), self.prepared))
        keeping = Keeping(self.folder / KEPT if read else None, keep, sampler, self.notes.append)
        found, _ = evaluator.evaluate(images, self.folder / f"evaluation-{self.runs}", subject, keeping)
        return found, images.made

    @property
    def images(self) -> int:
        """The images of all repetitions."""
        return self.prepared.task.protocol.samples * self.prepared.task.protocol.repetitions


@pytest.fixture
def evaluation(tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path) -> Evaluation:
    return Evaluation(tiny, catalogue, tmp_path)


def test_a_metric_added_later_reads_kept_features_and_makes_no_image(evaluation: Evaluation) -> None:
    _, made = evaluation(*FIRST, keep=("features",))
    assert made == evaluation.images
    added, made = evaluation(*ADDED)
    assert (made, evaluation.extracted, evaluation.notes) == (0, 0, [])
    fresh, made = evaluation(*ADDED, read=False)
    assert made == evaluation.images and added == fresh, "the same numbers and diagnostics to the bit"


def test_kept_images_cost_one_pass_of_the_extractors_and_are_what_the_sampler_made(evaluation: Evaluation) -> None:
    evaluation(*FIRST, keep=("images",))
    added, made = evaluation(*ADDED, "accuracy")
    assert (made, evaluation.extracted) == (0, evaluation.images)
    assert added == evaluation(*ADDED, "accuracy", read=False)[0]
    path = evaluation.folder / KEPT / "images" / "repetition-1.zip"
    kept, samples = KeptImages(path, evaluation.prepared, 1), evaluation.prepared.task.protocol.samples
    made_again = SampledImages(few_step_sampler(evaluation.prepared.teacher, [999]), evaluation.prepared)
    one, other = kept.batch(1, 3, 9), made_again.batch(1, 3, 9)
    assert torch.equal(one.images, other.images) and torch.equal(one.conditions, other.conditions)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pixels = np.array(Image.open(archive.open(names[3])))
    assert names == [f"{samples + index:08d}.png" for index in range(samples)], (
        "as bench eval --images numbers them"
    )
    np.testing.assert_array_equal(pixels, other.images[0, 0].numpy())


def test_images_are_kept_later_too_and_nothing_is_made_twice(evaluation: Evaluation) -> None:
    evaluation(*FIRST, keep=("features",))
    _, made = evaluation(*FIRST, keep=("images", "features"))
    assert (made, evaluation.extracted) == (evaluation.images, 0), "the images alone were missing"
    _, made = evaluation(*FIRST, keep=("images", "features"))
    assert (made, evaluation.extracted) == (0, 0)


def test_a_killed_evaluation_that_keeps_goes_on_only_from_repetitions_that_kept(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation(*FIRST)
    monkeypatch.setattr(evaluation, "runs", 0)  # the same folder of repetitions again
    _, made = evaluation(*FIRST)
    assert made == 0
    monkeypatch.setattr(evaluation, "runs", 0)
    _, made = evaluation(*FIRST, keep=("features",))
    assert made == evaluation.images
    monkeypatch.setattr(evaluation, "runs", 0)
    assert evaluation(*FIRST, keep=("features",))[1] == 0


FEATURES_0 = f"{KEPT}/features/{MAIN}-0.safetensors"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["features", "images"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "is not the file that was written"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "is not the file that was written"),
        (lambda path: path.with_suffix(".json").unlink(), "has no description, since its writer was stopped"),
        (
            lambda path: path.with_suffix(".json").write_text("{"),
            "has no description, since its writer was stopped",
        ),
    ],
)
def test_a_damaged_file_is_made_again_and_that_is_said(
    evaluation: Evaluation, kind: str, damage: Any, said: str
) -> None:
    evaluation(*FIRST, keep=(kind,))
    (path,) = (evaluation.folder / KEPT / kind).glob("*0.[sz]*")
    damage(path)
    added, made = evaluation(*ADDED)
    half = evaluation.images // 2
    assert made == half, "only the repetition whose file is damaged"
    assert evaluation.notes == [f"{path} {said}, and is not used"]
    assert added == evaluation(*ADDED, read=False)[0]
    evaluation(*ADDED, keep=(kind,))
    assert evaluation(*ADDED)[1] == 0, "with --keep the file is written again"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"subject": "another"}, "is of another student, sampler or set of images"),
        ({"sampler": {"steps": 4}}, "is of another sampler"),
    ],
)
def test_files_of_another_student_or_sampler_are_never_used(
    evaluation: Evaluation, other: dict[str, Any], said: str
) -> None:
    evaluation(*FIRST, keep=("features",))
    assert evaluation(*ADDED, **other)[1] == evaluation.images
    assert said in evaluation.notes[0]


def test_features_of_another_network_are_never_used(evaluation: Evaluation) -> None:
    evaluation(*FIRST, keep=("features",))
    path = (evaluation.folder / FEATURES_0).with_suffix(".json")
    about = json.loads(path.read_text())
    about["made_of"]["assets"]["features"] = "0" * 64
    path.write_text(json.dumps(about))
    assert evaluation(*ADDED)[1] == evaluation.images // 2
    assert "is of another feature network" in evaluation.notes[0]


def test_an_evaluation_that_ends_early_keeps_nothing(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Counted.batch

    def ends(self: Counted, repetition: int, start: int, stop: int) -> Generated:
        if self.made:
            raise KeyboardInterrupt
        return real(self, repetition, start, stop)

    monkeypatch.setattr(Counted, "batch", ends)
    monkeypatch.setattr(type(evaluation.prepared), "evaluation_batch", 50, raising=False)
    with pytest.raises(KeyboardInterrupt):
        evaluation(*FIRST, keep=("images", "features"))
    assert [path for path in (evaluation.folder / KEPT).rglob("*") if path.is_file()] == []


# The file of features


def batches() -> list[Features]:
    """Two batches of different sizes with everything that an extractor may give: three images of each prompt."""
    rng = np.random.default_rng(0)
    return [
        Features(
            rng.normal(size=(n, 4)).astype(np.float32),
            rng.normal(size=(n, 2)),
            {"right": rng.random(n) < 0.5, "diversity": rng.random(n // 3)},
            {"right": [f"wegen «{number}»" for number in range(n)]},
        )
        for n in (6, 3)
    ]


def test_features_are_read_back_to_the_bit_in_the_same_batches(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", batches())
    for one, other in zip(read_features(tmp_path / "a.safetensors"), batches(), strict=True):
        assert one.features.dtype == np.float32 and one.logits is not None and other.logits is not None
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.logits, other.logits)
        assert one.scores.keys() == other.scores.keys() and one.scores["right"].dtype == np.bool_
        assert all(np.array_equal(one.scores[name], other.scores[name]) for name in one.scores)
        assert one.reasons == other.reasons


def test_an_extractor_that_only_scores_is_kept_too(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", [Features(np.zeros((2, 0)), scores={"clip": np.array([0.5, 1.0])})])
    (found,) = read_features(tmp_path / "a.safetensors")
    assert found.features.shape == (2, 0) and found.scores["clip"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04"])
def test_a_file_that_is_no_features_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as kept features"):
        read_features(tmp_path / "a.safetensors")
