"""Preparation of scenes: made once, with the classes of the large text models, compared with their captions."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.batch import ImageBatch
from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import SampleNoise, flow_ode, heun
from bench.task.baseline_sampler import baseline_sampler
from bench.task.declaration import Baseline, Sources
from bench.task.protocol import MAIN
from tasks.fashion import data as fashion
from tasks.micro.task import ClassifierRecipe
from tasks.scenes import data
from tasks.scenes import task as scenes
from tasks.scenes.data import CAPTIONS
from tasks.scenes.prepared import LPIPS, PATCH, PreparedScenes
from tasks.scenes.task import MMDiTSpec, PainterRecipe, PainterSpec, SceneClassifierRecipe, ScenesTask, UNetSpec

SMALL = ClassifierRecipe(epochs=1, width=4, features=8, batch_size=50)
SHAPE = (3, 16, 16)
NETWORKS: dict[str, PainterSpec] = {
    "scenes": UNetSpec(channels=(8, 16), patch_size=2, norm_groups=4, text_width=16, text_layers=1),
    "scenes-flow": MMDiTSpec(width=16, layers=2, patch_size=4, text_width=16, text_layers=1),
}
DECLARED = {task.name: task for task in (scenes.TASK, scenes.TASK_FLOW)}


@pytest.fixture(scope="module")
def originals() -> Iterator[None]:
    """Sixty random images instead of Fashion-MNIST's, and few scenes of them."""
    rng = np.random.default_rng(0)
    images, kinds = rng.integers(0, 256, (60, 28, 28)).astype(np.uint8), np.arange(60) % 10
    with pytest.MonkeyPatch.context() as patch:
        found = fashion.Originals((images[:40], kinds[:40]), (images[40:], kinds[40:]), "here")
        patch.setattr(fashion, "originals", lambda *_: found)
        patch.setattr(data, "TRAIN_SCENES", 100)
        patch.setattr(data, "HELD_OUT_SCENES", 60)
        yield


@pytest.fixture(scope="module", params=list(NETWORKS))
def task(request: pytest.FixtureRequest, originals: None) -> ScenesTask:  # noqa: ARG001 (it takes the real images' place)
    splits, declared = data.load(None, Path()), DECLARED[request.param]
    return replace(
        declared,
        train_sha256=splits.train.sha256,
        held_out_sha256=splits.held_out.sha256,
        baselines={name: replace(one, steps=2) for name, one in declared.baselines.items()},
        network=NETWORKS[request.param],
        teacher=PainterRecipe(iterations=3, batch_size=8),
        classifier=SceneClassifierRecipe(scene=SMALL, item=SMALL),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for both tasks, as a user has."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def prepared(task: ScenesTask, cache: Path) -> PreparedScenes:
    made = task.prepare(Sources(cache), SilentProgress())
    assert isinstance(made, PreparedScenes)
    return made


def test_a_second_preparation_finds_the_first(prepared: PreparedScenes, task: ScenesTask, cache: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = task.prepare(Sources(cache), SilentProgress())
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == files
    assert [asset.sha256 for asset in again.weights + again.data] == [
        asset.sha256 for asset in prepared.weights + prepared.data
    ]
    everywhere = torch.arange(len(CAPTIONS))
    assert torch.equal(again.training_condition(everywhere), prepared.training_condition(everywhere))


def test_teacher_and_text_encoder_are_the_same_bits_anywhere(
    prepared: PreparedScenes, task: ScenesTask, tmp_path: Path
) -> None:
    again = task.prepare(Sources(tmp_path), SilentProgress())
    assert again.teacher_sha256 == prepared.teacher_sha256


def test_the_teacher_is_a_text_denoiser_with_a_null_condition(prepared: PreparedScenes) -> None:
    family = {"scenes": StableDiffusionDenoiser, "scenes-flow": SD3Denoiser}[prepared.task.name]
    assert isinstance(prepared.teacher, family)
    condition = prepared.training_condition(torch.tensor([0, 5]))
    assert condition.shape == (2, prepared.teacher.layout.size)
    torch.testing.assert_close(condition, prepared.encoder.encode([CAPTIONS[0], CAPTIONS[5]]))
    assert torch.equal(prepared.null_condition, prepared.encoder.encode([""]))


def test_real_batches_decode_to_the_images(prepared: PreparedScenes) -> None:
    x, condition = prepared.real_batch(torch.tensor([3, 99]), torch.device("cpu"))
    assert prepared.real_count == 100
    images = data.load(None, Path()).train
    expected = torch.from_numpy(images.images[[3, 99]]).float() / 127.5 - 1
    torch.testing.assert_close(prepared.decode(x), expected)
    torch.testing.assert_close(condition, prepared.training_condition(torch.from_numpy(images.labels[[3, 99]])))


def test_evaluation_asks_for_the_held_out_captions_two_images_each(prepared: PreparedScenes) -> None:
    asked = data.load(None, Path()).held_out.labels
    assert prepared.captions(torch.arange(6)).tolist() == [int(asked[i]) for i in (0, 0, 1, 1, 2, 2)]
    assert prepared.captions(torch.tensor([2 * len(asked)])).tolist() == [int(asked[0])], "then from the start"
    indices = torch.tensor([4, 0])
    assert torch.equal(prepared.conditions(indices), prepared.training_condition(prepared.captions(indices)))


def test_every_view_comes_with_their_scores(prepared: PreparedScenes) -> None:
    images = torch.randint(256, (8, *SHAPE), dtype=torch.uint8)
    indices = torch.arange(8)
    batch = ImageBatch(images, prepared.conditions(indices), indices)
    features = {name: extract(batch) for name, extract in prepared.extractors.items()}
    assert len(features[LPIPS]) == 8 and features[LPIPS].scores["diversity"].shape == (4,)
    assert features[PATCH].features.shape == (16, 8), "an item at each place"
    assert features[MAIN].features.shape == (8, 8)
    assert {name: len(found) for name, found in features[MAIN].scores.items()} == dict.fromkeys(
        ("alignment", "kinds", "colours"), 8
    )
    assert prepared.references[MAIN].rows.shape == (60, 8) and prepared.references[PATCH].rows.shape == (120, 8)


def test_the_classifier_s_answers_are_compared_with_the_requested_caption(
    prepared: PreparedScenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = torch.arange(4)
    read = torch.from_numpy(data.truths())[prepared.captions(indices)]
    read[1, 0] = (read[1, 0] + 1) % 10
    read[2, 3] = (read[2, 3] + 1) % 6
    monkeypatch.setattr(prepared.classifier, "read_items", lambda images: (torch.zeros(2 * len(images), 8), read))
    images = torch.zeros(4, *SHAPE, dtype=torch.uint8)
    scores = prepared.extractors[MAIN](ImageBatch(images, prepared.conditions(indices), indices)).scores
    assert scores["alignment"].tolist() == [True, False, False, True]
    assert scores["kinds"].tolist() == [True, False, True, True]
    assert scores["colours"].tolist() == [True, True, False, True]


def heun_of(
    prepared: PreparedScenes, denoiser: Denoiser, noise: SampleNoise, condition: torch.Tensor
) -> torch.Tensor:
    """Sample with two of Heun's steps: in the noise level as EDM, or in the time of a flow."""
    if prepared.task.name == "scenes":
        return heun(denoiser, noise, condition, 2)
    return flow_ode(denoiser, noise, condition, [1.0, 0.5])


def test_named_samplers_guide_the_teacher(prepared: PreparedScenes) -> None:
    condition = prepared.conditions(torch.arange(2))
    noise = lambda: SampleNoise([5, 6], SHAPE)  # noqa: E731 (a fresh stream each time)
    guided = GuidedDenoiser(prepared.teacher, prepared.null_condition, 3.0)
    for scale, denoiser in ((1, prepared.teacher), (3, guided)):
        baseline = prepared.task.baselines[f"teacher-cfg{scale}"]
        found = baseline_sampler(prepared.teacher, prepared.null_condition, baseline)(noise(), condition)
        assert torch.equal(found, heun_of(prepared, denoiser, noise(), condition))
        assert baseline.network_evaluations == (3 if scale == 1 else 6)
    with pytest.raises(ValueError, match="the teacher has no null condition"):
        baseline_sampler(prepared.teacher, None, Baseline("b", "", 2, guidance_scale=3.0))


def test_pairs_are_the_guided_teacher_s(prepared: PreparedScenes) -> None:
    noise, image, condition = prepared.pairs(2)
    assert torch.equal(condition, prepared.conditions(torch.arange(2)))
    first = next(iter(prepared.task.baselines.values()))
    guided = GuidedDenoiser(prepared.teacher, prepared.null_condition, first.guidance_scale)

    class Drawn(SampleNoise):
        def draw(self) -> torch.Tensor:
            return noise

    torch.testing.assert_close(image, heun_of(prepared, guided, Drawn([0, 1], SHAPE), condition))


def test_students_are_saved_and_read(prepared: PreparedScenes, task: ScenesTask, tmp_path: Path) -> None:
    prepared.save_student(prepared.teacher, tmp_path / "student", [999, 749, 499, 249])
    student, indices = prepared.load_student(tmp_path / "student")
    assert indices == [999, 749, 499, 249]
    t = prepared.teacher.schedule.grid[[499]]
    x, condition = torch.randn(1, *SHAPE), prepared.conditions(torch.zeros(1).long())
    assert torch.equal(student(x, t, condition), prepared.teacher(x, t, condition))
    with pytest.raises(UserError, match="has no sampler of 2 steps; --steps takes 4"):
        prepared.load_student(tmp_path / "student", steps=2)
    with pytest.raises(UserError, match="many-step denoiser, not a student"):
        prepared.load_student(task.teacher_path(prepared.cache) / "denoiser")


def test_damage_is_named(prepared: PreparedScenes, task: ScenesTask, tmp_path: Path) -> None:
    own = shutil.copytree(prepared.cache, tmp_path / "cache")
    path = task.features_path(own)
    path.write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"fix: rm .*, and run again") as caught:
        task.prepare(Sources(own), SilentProgress())
    assert str(path) in str(caught.value)
    with pytest.raises(UserError, match=rf"the training images from here are not those of task '{task.name}'"):
        replace(task, train_sha256="0" * 64).prepare(Sources(prepared.cache), SilentProgress())
