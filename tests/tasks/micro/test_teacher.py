"""Training the teacher: EDM's loss written out, weights that depend on the recipe alone, and learning."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.core.progress import SilentProgress
from bench.models.backbones.edm import EDMDenoiser
from tasks.micro.task import NetworkSpec, TeacherRecipe
from tasks.micro.teacher import build_denoiser, denoiser_loss, train_teacher

NETWORK = NetworkSpec(channels=(8,), patch_size=2, sigma_data=0.5, attention_head_dim=8, norm_groups=4)
RECIPE = TeacherRecipe(iterations=40, batch_size=16, warmup=5, lr=5e-3)


class Losses(SilentProgress):
    """Progress that keeps the losses and counts the steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.bars: list[tuple[str, int]] = []

    @contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator["Losses"]:  # noqa: ARG002
        self.bars.append((title, total))
        yield self

    def advance(self, steps: int = 1, **figures: float) -> None:
        assert steps == 1
        self.losses.append(figures["loss"])


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    """Two classes of 8x8 images: left half bright, and right half bright."""
    labels = torch.arange(32) % 2
    images = -torch.ones(32, 1, 8, 8)
    images[labels == 0, :, :, :4] = 0.5
    images[labels == 1, :, :, 4:] = 0.5
    return images, labels


def train(data: tuple[Tensor, Tensor], recipe: TeacherRecipe = RECIPE) -> tuple[EDMDenoiser, Losses]:
    progress = Losses()
    return train_teacher(*data, 2, NETWORK, recipe, progress), progress


@pytest.fixture(scope="module")
def trained(data: tuple[Tensor, Tensor]) -> tuple[EDMDenoiser, Losses]:
    return train(data)


def weights(denoiser: EDMDenoiser) -> Tensor:
    return torch.cat([value.flatten() for value in denoiser.state_dict().values()])


def test_denoiser_loss_written_out(data: tuple[Tensor, Tensor]) -> None:
    denoiser, sd = build_denoiser(NETWORK, (1, 8, 8), 2), 0.5
    x, labels = data[0][:3], data[1][:3]
    sigma = torch.tensor([0.01, 0.7, 9.0])
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = denoiser_loss(denoiser, x, sigma, eps, labels).item()
        expected = []
        for i, s in enumerate(sigma.tolist()):
            guess = denoiser(x[i : i + 1] + s * eps[i : i + 1], sigma[i : i + 1], labels[i : i + 1])
            expected.append((s**2 + sd**2) / (s * sd) ** 2 * (guess - x[i : i + 1]).square().mean().item())
    assert found == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_denoiser_loss_has_a_gradient_for_every_parameter(data: tuple[Tensor, Tensor]) -> None:
    denoiser = build_denoiser(NETWORK, (1, 8, 8), 2)
    denoiser_loss(denoiser, data[0], torch.full((32,), 0.5), torch.randn(32, 1, 8, 8), data[1]).backward()
    assert all(parameter.grad is not None for parameter in denoiser.parameters())


def test_a_teacher_comes_back_frozen_in_evaluation_mode(trained: tuple[EDMDenoiser, Losses]) -> None:
    teacher, progress = trained
    assert not teacher.training
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert teacher.taps == ("mid",)
    assert progress.bars == [("teacher", 40)]
    assert len(progress.losses) == 40


def test_training_is_deterministic(data: tuple[Tensor, Tensor], trained: tuple[EDMDenoiser, Losses]) -> None:
    torch.manual_seed(123)  # the caller's generator does not matter
    again, progress = train(data)
    assert torch.equal(weights(again), weights(trained[0]))
    assert progress.losses == trained[1].losses


def test_training_leaves_the_global_generator_alone(data: tuple[Tensor, Tensor]) -> None:
    before = torch.random.get_rng_state()
    train(data, replace(RECIPE, iterations=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_another_teacher(data: tuple[Tensor, Tensor]) -> None:
    one, two = (train(data, replace(RECIPE, iterations=2, seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(weights(one), weights(two))


def test_training_lowers_the_loss(data: tuple[Tensor, Tensor], trained: tuple[EDMDenoiser, Losses]) -> None:
    """On the same images, noise and levels; the averaged weights, not the last ones, are the teacher."""
    generator = torch.Generator().manual_seed(7)
    sigma = (RECIPE.p_mean + RECIPE.p_std * torch.randn(32, generator=generator)).exp()
    eps = torch.randn(32, 1, 8, 8, generator=generator)
    torch.manual_seed(RECIPE.seed)
    untrained = build_denoiser(NETWORK, (1, 8, 8), 2)
    with torch.no_grad():
        before, after = (denoiser_loss(d, data[0], sigma, eps, data[1]).item() for d in (untrained, trained[0]))
    assert math.isfinite(after)
    assert after < 0.7 * before
