"""Training the feature network: the same weights twice, and a separable problem is learnt."""

import pytest
import torch
from torch import Tensor

from bench.core.progress import SilentProgress
from tasks.micro.classifier import accuracy, train_classifier
from tasks.micro.networks import FeatureClassifier
from tasks.micro.task import ClassifierRecipe

RECIPE = ClassifierRecipe(epochs=20, width=4, features=8, batch_size=16)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    """Three classes of noisy 8x8 images that differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 3
    noise = 0.1 * torch.randn(100, 1, 8, 8, generator=generator)
    return (labels.float() - 1).reshape(-1, 1, 1, 1) + noise, labels


@pytest.fixture(scope="module")
def trained(data: tuple[Tensor, Tensor]) -> FeatureClassifier:
    return train_classifier(*data, 3, RECIPE, SilentProgress())


def test_learns_a_separable_problem(data: tuple[Tensor, Tensor], trained: FeatureClassifier) -> None:
    assert accuracy(trained, *data) == 1.0
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_training_is_deterministic(data: tuple[Tensor, Tensor], trained: FeatureClassifier) -> None:
    torch.manual_seed(123)  # the caller's generator does not matter
    before = torch.random.get_rng_state()
    again = train_classifier(*data, 3, RECIPE, SilentProgress())
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_accuracy_is_the_share_of_right_classes(data: tuple[Tensor, Tensor], trained: FeatureClassifier) -> None:
    images, labels = data
    wrong = torch.where(torch.arange(100) < 25, (labels + 1) % 3, labels)
    assert accuracy(trained, images, wrong) == 0.75


@pytest.mark.parametrize("side", [8, 10, 28])
def test_network_gives_features_and_logits_at_any_size(side: int) -> None:
    found = FeatureClassifier((3, side, side), 10, width=4, features=8)(torch.zeros(2, 3, side, side))
    assert found.features.shape == (2, 8)
    assert found.logits.shape == (2, 10)
