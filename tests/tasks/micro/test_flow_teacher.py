"""A micro task on a transformer: its teacher is a rectified flow with a null class, its students are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.core.progress import SilentProgress
from bench.models.backbones.dit import SiTDenoiser
from bench.models.samplers import SampleNoise
from bench.runs.registry import load_catalogue
from bench.task.baseline_sampler import baseline_sampler
from bench.task.declaration import Sources
from tasks.digits import task as digits
from tasks.fashion.task import TASK, TASK_FLOW
from tasks.micro.prepared import PreparedMicroTask
from tasks.micro.task import ClassifierRecipe, FlowTeacherRecipe, MicroTask, TransformerSpec
from tasks.micro.teacher import build_denoiser, denoiser_loss, train_teacher

SPEC = TransformerSpec(width=16, layers=2, heads=2, patch_size=2)
RECIPE = FlowTeacherRecipe(iterations=60, batch_size=16, warmup=5, lr=5e-3)
DIGITS: MicroTask = replace(
    digits.TASK,
    network=SPEC,
    teacher=FlowTeacherRecipe(iterations=2, batch_size=8),
    classifier=ClassifierRecipe(epochs=1, width=4, features=8, batch_size=50),
    baselines={name: replace(one, steps=2) for name, one in TASK_FLOW.baselines.items()},
)


def halves() -> tuple[Tensor, Tensor]:
    """Two classes of 8x8 images: left half bright, and right half bright."""
    labels = torch.arange(32) % 2
    images = -torch.ones(32, 1, 8, 8)
    images[labels == 0, :, :, :4] = 0.5
    images[labels == 1, :, :, 4:] = 0.5
    return images, labels


def trained(recipe: FlowTeacherRecipe = RECIPE) -> SiTDenoiser:
    teacher = train_teacher(*halves(), 2, SPEC, recipe, SilentProgress())
    assert isinstance(teacher, SiTDenoiser)
    return teacher


def loss_at(denoiser: SiTDenoiser, condition: Tensor) -> float:
    images, _ = halves()
    generator = torch.Generator().manual_seed(7)
    t = torch.rand(32, generator=generator)
    eps = torch.randn(images.shape, generator=generator)
    with torch.no_grad():
        return denoiser_loss(denoiser, images, t, eps, condition).item()


def test_the_loss_is_the_squared_error_of_the_velocity() -> None:
    denoiser, (images, labels) = trained(replace(RECIPE, iterations=3)), halves()
    t, eps = torch.linspace(0.1, 1, 32), torch.randn(images.shape)
    x_t = (1 - t[:, None, None, None]) * images + t[:, None, None, None] * eps
    with torch.no_grad():
        velocity = -denoiser.network(x_t, timestep=1 - t, class_labels=labels).sample
        found = denoiser_loss(denoiser, images, t, eps, labels).item()
    assert found == pytest.approx((velocity - (eps - images)).square().mean().item(), rel=1e-4)


def test_training_learns_the_classes_and_the_null_class() -> None:
    torch.manual_seed(0)
    untrained, teacher, (_, labels) = build_denoiser(SPEC, (1, 8, 8), 2), trained(), halves()
    null = torch.full_like(labels, 2)
    assert isinstance(untrained, SiTDenoiser)
    assert loss_at(teacher, labels) < 0.5 * loss_at(untrained, labels)
    table = teacher.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    without = trained(replace(RECIPE, class_dropout=0.0))
    assert loss_at(teacher, labels) < loss_at(teacher, null), "without a class, the half is a guess"
    other = without.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    start = untrained.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    assert torch.equal(other[2], start[2]) and not torch.equal(table[2], start[2])


def test_training_is_deterministic() -> None:
    recipe = replace(RECIPE, iterations=3)
    one, other = (trained(recipe).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedMicroTask:
    found = DIGITS.prepare(Sources(tmp_path_factory.mktemp("flow")), SilentProgress())
    assert isinstance(found, PreparedMicroTask)
    return found


def test_the_prepared_task_has_the_null_class_and_samples_every_baseline(prepared: PreparedMicroTask) -> None:
    assert prepared.null_condition is not None and prepared.null_condition.tolist() == [10]
    for baseline in DIGITS.baselines.values():
        sampler = baseline_sampler(prepared.teacher, prepared.null_condition, baseline)
        with torch.no_grad():
            images = sampler(SampleNoise([1, 2], (1, 8, 8)), torch.tensor([0, 9]))
        assert images.shape == (2, 1, 8, 8) and images.isfinite().all()


def test_pairs_are_named_by_the_whole_sampler(prepared: PreparedMicroTask) -> None:
    assert prepared.pair_identity() == [prepared.teacher_sha256, DIGITS.baselines["teacher-ode"].identity()]


def test_a_student_is_saved_and_read_back(prepared: PreparedMicroTask, tmp_path: Path) -> None:
    prepared.save_student(prepared.teacher, tmp_path / "student", [700])
    student, indices = prepared.load_student(tmp_path / "student")
    assert isinstance(student, SiTDenoiser) and indices == [700]


def test_the_two_tasks_share_images_classifier_and_reference(tmp_path: Path) -> None:
    assert TASK_FLOW.features_path(tmp_path) == TASK.features_path(tmp_path)
    assert TASK_FLOW.reference_name("a") == TASK.reference_name("a")
    assert TASK_FLOW.teacher_path(tmp_path) != TASK.teacher_path(tmp_path)


@pytest.mark.parametrize("name", sorted(one.name for one in load_catalogue().methods))
def test_every_method_has_a_recipe(name: str) -> None:
    recipe = load_catalogue().methods.get(name).recipe("fashion-flow", "micro", {})
    assert recipe.iterations <= 7000
