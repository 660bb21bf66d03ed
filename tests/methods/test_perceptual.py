"""LPIPS as regression distance: the package's own number and gradient on scaled-up images, or a clear refusal."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
from tiny_task_context import PAIRS, make_batch, make_context, normal
from torch import Tensor
from torch.nn import functional as F
from vgg_reference import average_pooled_activations

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.features.networks.lpips_network import lpips_network
from bench.training.step_rng import StepRNG
from methods import perceptual
from methods.losses import regression_loss
from methods.perceptual import distance_of, lpips_distance
from methods.recipes import DMDRecipe, RegressionRecipe
from methods.regression import RegressionDistiller


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's LPIPS as its users call it, on a random trunk."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False)


@pytest.fixture(scope="module")
def trunk(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trunk as torchvision would save it."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    state = package.net.state_dict()
    torch.save({f"features.{name.partition('.')[2]}": tensor for name, tensor in state.items()}, path)
    return path


def scaled_up(images: Tensor) -> Tensor:
    return F.interpolate(images, (224, 224), mode="bilinear")


def test_number_and_gradient_are_the_package_s_on_images_of_224_pixels(package: Any, trunk: Path) -> None:
    x, y = (normal(seed, 1, 3, 64, 64).tanh().requires_grad_(seed == 0) for seed in (0, 1))
    ours = lpips_distance(lpips_network("vgg", trunk), x, y)
    theirs = package(scaled_up(x), scaled_up(y)).mean()
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(distance, x)[0] for distance in (ours, theirs))
    torch.testing.assert_close(*gradients)


def test_it_is_computed_in_float32_whatever_the_training_is(package: Any, trunk: Path) -> None:
    x, y = (normal(seed, 1, 3, 224, 224).tanh() for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        ours = lpips_distance(lpips_network("vgg", trunk), x, y)
    torch.testing.assert_close(ours, package(x, y).mean())  # as large as it is: not scaled


def test_a_training_step_goes_down_it(package: Any, trunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "VGG16", replace(perceptual.VGG16, sha256=file_sha256(trunk)))
    recipe = RegressionRecipe(pairs=len(PAIRS.noise), regression_distance="lpips", lpips_weights=trunk)
    method = RegressionDistiller(recipe, make_context())
    chosen = StepRNG(seed=0, iteration=0).integers(0, len(PAIRS.noise), 1)
    with torch.no_grad():
        made = method.generator.network(80 * PAIRS.noise[chosen], torch.tensor([80.0]), PAIRS.condition[chosen])
        expected = package(scaled_up(made), scaled_up(PAIRS.image[chosen])).mean()
    found = method.training_step(make_batch(size=1))["loss/regression"]
    torch.testing.assert_close(found, expected)
    assert method.generator.gradient_norm is not None and method.generator.gradient_norm > 0


def test_average_pooling_stands_where_vgg_has_the_largest(package: Any, trunk: Path) -> None:
    """piq's replace_pooling, with which DMD2 pretrains SDXL's one-step student: the distance, written out."""
    x, y = (normal(seed, 1, 3, 32, 32).tanh() for seed in (0, 1))
    state = torch.load(trunk, weights_only=True)

    def activations(images: Tensor) -> list[Tensor]:
        return average_pooled_activations(package.scaling_layer(images), state)

    expected = torch.zeros(1)
    for linear, one, other in zip(package.lins, activations(x), activations(y), strict=True):
        squares = (F.normalize(one) - F.normalize(other)) ** 2
        expected = expected + linear(squares).mean((2, 3)).flatten()
    found = lpips_network("vgg", trunk, "average")(x, y).flatten()
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, lpips_network("vgg", trunk)(x, y).flatten())


def test_without_being_asked_for_it_is_the_mean_squared_error() -> None:
    for recipe in (DMDRecipe(), RegressionRecipe()):
        assert distance_of(recipe, make_context()) is regression_loss


def test_a_run_s_name_knows_the_distance_and_no_path(trunk: Path) -> None:
    with_it = DMDRecipe(regression=True, regression_distance="lpips", lpips_weights=trunk, init_from=trunk.parent)
    assert with_it.identity() == DMDRecipe(regression=True).identity() | {"regression_distance": "lpips"}


def test_without_its_weights_it_is_refused_before_anything_is_made(tmp_path: Path, trunk: Path) -> None:
    with pytest.raises(
        UserError, match=r"regression_distance=lpips requires .*; fix: bench prepare --weights lpips="
    ):
        distance_of(DMDRecipe(regression=True, regression_distance="lpips"), make_context())
    nowhere = DMDRecipe(regression=True, regression_distance="lpips", lpips_weights=tmp_path / "vgg.pth")
    with pytest.raises(
        UserError, match=rf"no file {tmp_path / 'vgg.pth'}, which should be torchvision's vgg16-397923af"
    ):
        distance_of(nowhere, make_context())
    with pytest.raises(UserError, match=rf"{trunk} does not have the SHA-256 of torchvision's vgg16-397923af.pth"):
        distance_of(nowhere.model_copy(update={"lpips_weights": trunk}), make_context())
    assert {"lpips_weights", "lpips_pooling"} <= set(RegressionRecipe(lpips_weights=trunk).idle())


def test_the_weights_that_were_chosen_for_the_task_are_taken_unless_the_recipe_names_others(
    trunk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual, "VGG16", replace(perceptual.VGG16, sha256=file_sha256(trunk)))
    asked = DMDRecipe(regression=True, regression_distance="lpips")
    x, y = (normal(seed, 1, 3, 32, 32).tanh() for seed in (0, 1))
    context = replace(make_context(), lpips_trunk=lambda: trunk)
    torch.testing.assert_close(
        distance_of(asked, context)(x, y), lpips_distance(lpips_network("vgg", trunk), x, y)
    )
    named = asked.model_copy(update={"lpips_weights": tmp_path / "own.pth"})
    with pytest.raises(UserError, match=rf"there is no file {tmp_path / 'own.pth'}"):
        distance_of(named, context)


def test_a_recipe_asks_for_lpips_by_its_role_unless_it_names_the_file() -> None:
    asked = DMDRecipe(regression=True, regression_distance="lpips")
    assert asked.roles == {"lpips", "tiny_vae"}
    assert asked.model_copy(update={"lpips_weights": Path("vgg16.pth")}).roles == {"tiny_vae"}
    assert asked.model_copy(update={"regression": False}).roles == frozenset()
    assert DMDRecipe(regression=True).roles == RegressionRecipe().roles == frozenset()


def test_another_network_is_no_trunk(tmp_path: Path, trunk: Path) -> None:
    state = torch.load(trunk, weights_only=True)
    path = tmp_path / "other.pth"
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("features.28")}, path)
    with pytest.raises(
        UserError, match=r"not torchvision's vgg: features\.28\.weight \(missing\), features\.28\.bias"
    ):
        lpips_network("vgg", path)
    torch.save(state | {"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"not torchvision's vgg: features\.0\.weight .*64, 3, 3, 3"):
        lpips_network("vgg", path)
