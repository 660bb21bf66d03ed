"""Preparing a micro task: assets made once and named by content, and errors that name a broken one."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_sha256
from bench.core.progress import SilentProgress
from bench.features.batch import ImageBatch
from bench.models.samplers import SampleNoise, heun
from bench.task.declaration import Sources
from bench.task.images import to_uint8, to_unit_range
from bench.task.pairs import PAIR_SEED
from bench.task.protocol import MAIN
from tasks.digits import task as digits
from tasks.micro.prepared import PreparedMicroTask
from tasks.micro.task import ClassifierRecipe, MicroTask, NetworkSpec, TeacherRecipe

TASK: MicroTask = replace(
    digits.TASK,
    network=NetworkSpec(channels=(16,), patch_size=2, sigma_data=0.75, norm_groups=4),
    teacher=TeacherRecipe(iterations=4, batch_size=8),
    classifier=ClassifierRecipe(epochs=1, width=4, features=8, batch_size=50),
)
"""The digits with networks that are hardly trained."""


class Listener(SilentProgress):
    """Progress that remembers the titles of all long work."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    @contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[SilentProgress]:  # noqa: ARG002
        self.titles.append(title)
        yield self


def prepare(cache: Path, task: MicroTask = TASK) -> tuple[PreparedMicroTask, list[str]]:
    """Prepare `task` and say which long work that took."""
    listener = Listener()
    prepared = task.prepare(Sources(cache), listener)
    assert isinstance(prepared, PreparedMicroTask)
    return prepared, listener.titles


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedMicroTask, Path, list[str]]:
    """The task prepared once for all tests: the prepared task, its cache and the work that it took."""
    cache = tmp_path_factory.mktemp("micro-prepared")
    prepared, work = prepare(cache)
    return prepared, cache, work


@pytest.fixture
def prepared(made: tuple[PreparedMicroTask, Path, list[str]]) -> PreparedMicroTask:
    return made[0]


@pytest.fixture
def cache(made: tuple[PreparedMicroTask, Path, list[str]]) -> Path:
    """The shared cache: read it, do not write."""
    return made[1]


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path) -> Path:
    """A copy of the cache that a test may damage."""
    return shutil.copytree(cache, tmp_path / "cache")


def files_of(cache: Path) -> dict[str, tuple[int, str]]:
    """Every asset in a cache with its time of change and its hash."""
    found = (path for path in sorted(cache.rglob("*")) if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(cache)): (path.stat().st_mtime_ns, file_sha256(path)) for path in found}


# What is made


def test_a_first_preparation_trains_both_networks(made: tuple[PreparedMicroTask, Path, list[str]]) -> None:
    prepared, cache, work = made
    assert work[:2] == ["teacher", "feature network"] and work[2].startswith("reference ")
    assert TASK.teacher_path(cache).is_dir()
    assert TASK.features_path(cache).is_file()
    assert [
        requirement.role for requirement in TASK.requirements(Sources(cache)) if requirement.path is None
    ] == []
    assert not any(parameter.requires_grad for parameter in prepared.teacher.parameters())


def test_a_second_preparation_trains_nothing_and_is_the_same(prepared: PreparedMicroTask, own_cache: Path) -> None:
    before = files_of(own_cache)
    again, work = prepare(own_cache)
    assert work == []
    assert files_of(own_cache) == before
    assert again.teacher_sha256 == prepared.teacher_sha256
    assert again.references[MAIN].sha256 == prepared.references[MAIN].sha256
    assert np.array_equal(again.references[MAIN].rows, prepared.references[MAIN].rows)


def test_another_machine_s_empty_cache_gets_the_same_bits(prepared: PreparedMicroTask, tmp_path: Path) -> None:
    again, work = prepare(tmp_path)
    assert work[:2] == ["teacher", "feature network"] and work[2].startswith("reference ")
    assert again.teacher_sha256 == prepared.teacher_sha256
    assert [asset.sha256 for asset in again.weights + again.data] == [
        asset.sha256 for asset in prepared.weights + prepared.data
    ]


def test_only_what_is_missing_is_made(prepared: PreparedMicroTask, own_cache: Path) -> None:
    TASK.features_path(own_cache).unlink()
    assert [
        requirement.role for requirement in TASK.requirements(Sources(own_cache)) if requirement.path is None
    ] == ["features"]
    again, work = prepare(own_cache)
    assert work == ["feature network"]
    assert again.references[MAIN].sha256 == prepared.references[MAIN].sha256


def test_assets_are_listed_with_their_hashes(prepared: PreparedMicroTask, cache: Path) -> None:
    teacher, features = prepared.weights
    assert (teacher.role, teacher.sha256) == ("teacher", folder_sha256(TASK.teacher_path(cache)))
    assert (features.role, features.sha256) == ("feature network", file_sha256(TASK.features_path(cache)))
    train, held_out, reference = prepared.data
    assert (train.sha256, held_out.sha256) == (TASK.train_sha256, TASK.held_out_sha256)
    assert reference.path is not None
    assert reference.path.is_dir() and reference.sha256 == prepared.references[MAIN].sha256
    assert all(asset.bytes > 0 for asset in prepared.weights + prepared.data)


def test_real_images_are_the_training_split(prepared: PreparedMicroTask) -> None:
    assert prepared.real_images.shape == (900, 1, 8, 8)
    assert prepared.real_images.dtype == torch.uint8
    assert prepared.real_conditions.unique().tolist() == list(range(10)) == list(range(prepared.classes))
    assert prepared.references[MAIN].rows.shape == (897, 8)


# Names by content


def changed(value: Any) -> Any:
    """Return another value of the same kind."""
    return (*value, value[-1]) if isinstance(value, tuple) else value + 1


@pytest.mark.parametrize("field", [field.name for field in fields(TeacherRecipe)])
def test_teacher_key_changes_with_the_recipe(field: str) -> None:
    other = replace(TASK, teacher=replace(TASK.teacher, **{field: changed(getattr(TASK.teacher, field))}))
    assert other.teacher_key() != TASK.teacher_key()
    assert other.features_key() == TASK.features_key()
    assert other.identity() != TASK.identity()


@pytest.mark.parametrize("field", [field.name for field in fields(NetworkSpec)])
def test_teacher_key_changes_with_the_network(field: str) -> None:
    other = replace(TASK, network=replace(TASK.network, **{field: changed(getattr(TASK.network, field))}))
    assert other.teacher_key() != TASK.teacher_key()
    assert other.features_key() == TASK.features_key()


@pytest.mark.parametrize("field", [field.name for field in fields(ClassifierRecipe)])
def test_features_key_changes_with_the_recipe(field: str) -> None:
    other = replace(TASK, classifier=replace(TASK.classifier, **{field: changed(getattr(TASK.classifier, field))}))
    assert other.features_key() != TASK.features_key()
    assert other.teacher_key() == TASK.teacher_key()


def test_keys_change_with_the_images() -> None:
    other = replace(TASK, train_sha256="0" * 64)
    assert other.teacher_key() != TASK.teacher_key()
    assert other.features_key() != TASK.features_key()
    assert other.reference_name("f" * 64) == TASK.reference_name("f" * 64)
    assert replace(TASK, held_out_sha256="0" * 64).reference_name("f" * 64) != TASK.reference_name("f" * 64)
    assert TASK.reference_name("e" * 64) != TASK.reference_name("f" * 64)
    derived = replace(TASK, protocol=replace(TASK.protocol, name=f"{TASK.protocol.name}.fd+kid"))
    assert derived.reference_name("f" * 64) == TASK.reference_name("f" * 64)


def test_a_changed_recipe_gets_its_own_teacher(own_cache: Path) -> None:
    before = files_of(own_cache)
    _, work = prepare(own_cache, replace(TASK, teacher=replace(TASK.teacher, iterations=1)))
    assert work == ["teacher"]
    after = files_of(own_cache)
    assert before.items() <= after.items()
    assert len(list((own_cache / "teachers").glob("digits-*"))) == 2


# What is refused


@pytest.mark.parametrize(("field", "split"), [("train_sha256", "training"), ("held_out_sha256", "held-out")])
def test_other_images_are_refused(tmp_path: Path, field: str, split: str) -> None:
    with pytest.raises(UserError, match=f"the {split} images from scikit-learn are not those of task 'digits'"):
        prepare(tmp_path, replace(TASK, **{field: "0" * 64}))
    assert list(tmp_path.iterdir()) == []


def teacher_file(name: str) -> Callable[[Path], Path]:
    return lambda cache: TASK.teacher_path(cache) / name


def reference_file(cache: Path) -> Path:
    (path,) = (cache / "references").glob("*/features.npy")
    return path


def reference_folder(cache: Path) -> Path:
    return reference_file(cache).parent


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
@pytest.mark.parametrize(
    ("find", "named"),
    [
        (TASK.features_path, TASK.features_path),
        (reference_file, reference_folder),
        (teacher_file("denoiser.json"), teacher_file("denoiser.json")),
        (teacher_file("unet/diffusion_pytorch_model.safetensors"), teacher_file("unet")),
    ],
    ids=["features", "reference", "description", "weights"],
)
def test_a_damaged_asset_is_named_with_what_mends_it(
    own_cache: Path, find: Callable[[Path], Path], named: Callable[[Path], Path], damage: str
) -> None:
    path = find(own_cache)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) * 2 // 3], "garbage": b"\x00garbage" * 20}[damage])
    with pytest.raises(UserError, match=r"delete|fix: rm ") as caught:
        prepare(own_cache)
    assert str(named(own_cache)) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (teacher_file("denoiser.json"), TASK.teacher_path),
        (lambda cache: reference_folder(cache) / "statistics.npz", reference_folder),
    ],
    ids=["teacher", "reference"],
)
def test_what_lost_a_file_is_to_be_removed_and_made_again(
    own_cache: Path, file: Callable[[Path], Path], named: Callable[[Path], Path]
) -> None:
    folder = named(own_cache)
    file(own_cache).unlink()
    with pytest.raises(UserError, match=r"fix: rm -r .* run again") as caught:
        prepare(own_cache)
    assert f"fix: rm -r {folder}, " in str(caught.value)


def test_features_of_another_shape_are_named(own_cache: Path) -> None:
    """A readable file with the wrong network in it, say from an older layout of the classifier."""
    path = TASK.features_path(own_cache)
    wide = replace(TASK, classifier=replace(TASK.classifier, width=8))
    shutil.copy(path, wide.features_path(own_cache))
    with pytest.raises(UserError, match="cannot read the feature network") as caught:
        prepare(own_cache, wide)
    assert str(wide.features_path(own_cache)) in str(caught.value)


# Conditions, features, pairs, students


def test_conditions_are_balanced_and_belong_to_the_index(prepared: PreparedMicroTask) -> None:
    conditions = prepared.conditions(torch.arange(1800))
    assert torch.bincount(conditions).tolist() == [180] * 10
    assert torch.equal(torch.cat([prepared.conditions(part) for part in torch.arange(1800).split(7)]), conditions)
    assert prepared.null_condition is None


def test_features_do_not_depend_on_the_batch(prepared: PreparedMicroTask) -> None:
    images = prepared.real_images[:60]
    labels = prepared.real_conditions[:60]
    whole = prepared.extractors[MAIN](ImageBatch(images, labels))
    assert whole.features.shape == (60, 8)
    assert whole.features.dtype == np.float32
    for size in (1, 7):
        parts = [
            prepared.extractors[MAIN](ImageBatch(part, asked))
            for part, asked in zip(images.split(size), labels.split(size), strict=True)
        ]
        found = np.concatenate([part.features for part in parts])
        np.testing.assert_allclose(found, whole.features, rtol=1e-4, atol=1e-5)
        assert np.array_equal(
            np.concatenate([part.scores["accuracy"] for part in parts]), whole.scores["accuracy"]
        )


def test_grey_levels_survive_the_unit_range() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_unit_range(levels)), levels)
    assert to_uint8(torch.tensor([-1.5, -1.0, 0.9999, 1.5])).tolist() == [0, 0, 255, 255]
    assert to_uint8(torch.tensor([-1.5, -1.0, 0.9999, 1.5]), "truncate").tolist() == [0, 0, 254, 255]


def test_pairs_are_the_teacher_s_ode_from_seeded_noise(prepared: PreparedMicroTask, own_cache: Path) -> None:
    again, _ = prepare(own_cache)
    noise, image, condition = again.pairs(12)
    assert torch.equal(condition, torch.arange(12) % 10)
    seeds = [PAIR_SEED + i for i in range(12)]
    assert torch.equal(noise, SampleNoise(seeds, (1, 8, 8)).draw())
    with torch.no_grad():
        steps = TASK.baselines["teacher-ode"].steps
        expected = heun(prepared.teacher, SampleNoise(seeds, (1, 8, 8)), condition, steps)
    assert torch.equal(image, expected)


def test_pairs_do_not_depend_on_the_batch(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, image, condition = prepare(own_cache)[0].pairs(12)
    shutil.rmtree(own_cache / "pairs")
    monkeypatch.setattr("bench.task.pairs.PairedTeacher.pair_batch", 5)
    again = prepare(own_cache)[0].pairs(12)
    assert torch.equal(again[0], noise)
    torch.testing.assert_close(again[1], image, rtol=1e-3, atol=1e-4)
    assert torch.equal(again[2], condition)


def test_pairs_are_made_once(own_cache: Path) -> None:
    listener = Listener()
    prepared = TASK.prepare(Sources(own_cache), listener)
    first = prepared.pairs(3)
    asset = prepared.asset_of_pairs(3)
    second = prepared.pairs(3)
    assert listener.titles == ["teacher pairs"]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert asset.path is not None
    assert asset.sha256 == file_sha256(asset.path)

    asset.path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot read the teacher pairs") as caught:
        prepared.pairs(3)
    assert str(asset.path) in str(caught.value)


def test_parts_of_pairs_that_a_kill_left_after_they_were_joined_go_at_the_next_reading(own_cache: Path) -> None:
    prepared, _ = prepare(own_cache)
    first = prepared.pairs(3)
    path = prepared.asset_of_pairs(3).path
    assert path is not None
    part = path.with_suffix("") / "0000000-0000003.safetensors"
    for left in (part, part.with_name(f".{part.name}.lock")):
        left.write_bytes(b"left")
    assert torch.equal(prepared.pairs(3)[1], first[1])
    assert not list(part.parent.iterdir())


def test_a_student_is_saved_and_read_with_its_steps(prepared: PreparedMicroTask, tmp_path: Path) -> None:
    prepared.save_student(prepared.teacher, tmp_path / "student", [999, 499])
    student, indices = prepared.load_student(tmp_path / "student")
    assert indices == [999, 499]
    assert prepared.load_student(tmp_path / "student", steps=2)[1] == indices
    with pytest.raises(UserError, match="student has no sampler of 1 step; --steps takes 2; fix: --steps 2"):
        prepared.load_student(tmp_path / "student", steps=1)
    assert all(
        torch.equal(value, student.state_dict()[name]) for name, value in prepared.teacher.state_dict().items()
    )


def test_a_teacher_is_no_student(prepared: PreparedMicroTask, cache: Path) -> None:
    with pytest.raises(UserError, match="is a many-step denoiser, not a student"):
        prepared.load_student(TASK.teacher_path(cache))


def test_a_student_of_another_image_size_is_refused(prepared: PreparedMicroTask, tmp_path: Path) -> None:
    prepared.save_student(prepared.teacher, tmp_path / "student", [999])
    prepared.task = replace(TASK, image_shape=(1, 28, 28))
    try:
        with pytest.raises(UserError, match="makes images of 8x8, but task 'digits' has 28x28"):
            prepared.load_student(tmp_path / "student")
    finally:
        prepared.task = TASK
