"""LPIPS diversity against the lpips package called pair by pair, on random trunks."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lpips
import numpy as np
import pytest
import torch
import torchvision
from inception_files import photographs
from torch import Tensor
from torch.nn import functional as F
from vgg_reference import average_pooled_activations

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.networks.lpips_diversity import TRUNKS, LPIPSDiversity, load_lpips
from bench.features.preprocess import Squares, square
from bench.features.scoring import LPIPS_ALEX, LPIPS_PIQ, LPIPS_VGG, diversity_protocol
from tasks.partiprompts import TASK as PARTIPROMPTS

Net = Literal["alex", "vgg"]
SMALL_ALEX = replace(LPIPS_ALEX, size=64)
SMALL_VGG = replace(LPIPS_VGG, size=32)


@pytest.fixture(scope="module", autouse=True)
def _classifiers_are_not_drawn() -> Iterator[None]:
    """LPIPS has no use for the hundred million weights behind VGG's convolutions; drawing them takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Linear, "reset_parameters", lambda _linear: None)
        patch.setattr(torch.nn.init, "normal_", lambda weights, *_args, **_options: weights)
        yield


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """torchvision's files with random weights; of the classifiers, which LPIPS leaves unread, nothing."""
    folder, paths = tmp_path_factory.mktemp("trunks"), {}
    for net, build in (("alex", torchvision.models.alexnet), ("vgg", torchvision.models.vgg16)):
        torch.manual_seed(0)
        state = build().state_dict()
        paths[net] = folder / TRUNKS[net].name
        torch.save({name: value for name, value in state.items() if name.startswith("features")}, paths[net])
    return paths


def load(path: Path, protocol: Any, tmp_path: Path) -> LPIPSDiversity:
    return load_lpips(protocol, path, tmp_path, download=False, progress=SilentProgress(), own_weights=True)


def package(net: Net) -> Any:
    """The package's own LPIPS; it draws its random trunk as torchvision does, from the same seed."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


@pytest.mark.parametrize("protocol", [SMALL_ALEX, replace(SMALL_ALEX, input_range="unit"), SMALL_VGG])
def test_distances_are_the_packages_to_the_bit(protocol: Any, trunks: dict[str, Path], tmp_path: Path) -> None:
    images = photographs(4, protocol.size)
    ours = load(trunks[protocol.net], protocol, tmp_path)
    theirs = package(protocol.net)
    unit = images.float() / 255
    pixels = unit if protocol.input_range == "unit" else 2 * unit - 1
    with torch.no_grad():
        expected = [theirs(one[None], other[None]).item() for one, other in itertools.combinations(pixels, 2)]
    assert ours.distances(images).tolist() == expected
    assert min(expected) > 0


def test_the_trunk_sees_each_image_once(trunks: dict[str, Path], tmp_path: Path) -> None:
    diversity = load(trunks["alex"], SMALL_ALEX, tmp_path)
    passed: list[Tensor] = []
    diversity.model.net.register_forward_pre_hook(lambda _module, inputs: passed.append(inputs[0]))
    assert diversity.distances(photographs(4)).shape == (6,)
    assert [list(image.shape) for image in passed] == [[1, 3, 64, 64]] * 4


def test_the_value_of_a_prompt_is_the_mean_of_its_pairs(trunks: dict[str, Path], tmp_path: Path) -> None:
    """Eight images of 100 x 80 are two prompts of four; each is cropped and resized by the protocol."""
    diversity = load(trunks["alex"], SMALL_ALEX, tmp_path)
    images = photographs(8, 100)[:, :, :80]
    found = diversity.of_prompts(Squares(images))
    expected = [diversity.distances(square(four, 64)).astype(np.float64).mean() for four in images.split(4)]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    with pytest.raises(UserError, match="compares the 4 images of a prompt, and a batch has 6; fix: leave it out"):
        diversity.of_prompts(Squares(images[:6]))


def test_equal_images_have_no_diversity_and_the_range_matters(trunks: dict[str, Path], tmp_path: Path) -> None:
    signed = load(trunks["alex"], SMALL_ALEX, tmp_path)
    images = photographs(4)
    assert signed.of_prompts(Squares(images[:1].expand(4, -1, -1, -1))) == 0
    unit = load(trunks["alex"], replace(SMALL_ALEX, input_range="unit"), tmp_path)
    assert unit.of_prompts(Squares(images)) < signed.of_prompts(Squares(images))


def test_as_official_is_piqs_number_of_images_in_the_unit_range(trunks: dict[str, Path], tmp_path: Path) -> None:
    """piq normalises 0 ... 1 by ImageNet's mean and deviation, and replaces VGG's pooling: written out."""
    protocol = replace(LPIPS_PIQ, size=32)
    images, state = photographs(2, 32), torch.load(trunks["vgg"], weights_only=True)
    mean, deviation = (
        torch.tensor(three)[:, None, None] for three in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    layers = average_pooled_activations((images / 255 - mean) / deviation, state)
    expected = torch.zeros(1)
    for linear, (one, other) in zip(package("vgg").lins, layers, strict=True):
        squares = (F.normalize(one, dim=0) - F.normalize(other, dim=0)) ** 2
        expected = expected + linear(squares[None]).mean((2, 3)).flatten()
    found = load(trunks["vgg"], protocol, tmp_path).distances(images)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5)


def test_as_official_differs_in_its_pooling_alone() -> None:
    text = PARTIPROMPTS.protocols["partiprompts-as-official"].text
    assert text is not None
    assert diversity_protocol(text.diversity) == replace(LPIPS_VGG, name="lpips-piq", pooling="average")
    with pytest.raises(UserError, match="unknown diversity protocol 'lpips-vg'; did you mean 'lpips-vgg'"):
        diversity_protocol("lpips-vg")


def test_another_file_is_refused(trunks: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not vgg16-397923af.pth: its SHA-256 is"):
        load_lpips(LPIPS_VGG, trunks["vgg"], tmp_path, download=False, progress=SilentProgress())
    with pytest.raises(UserError, match=r"is not torchvision's vgg: features\.2\.weight \(missing\)"):
        load(trunks["alex"], LPIPS_VGG, tmp_path)
    with pytest.raises(UserError, match=r"is not torchvision's alex: features\.0\.weight \(\[1\] for \[64"):
        state = torch.load(trunks["alex"], weights_only=True)
        torch.save({**state, "features.0.weight": torch.zeros(1)}, tmp_path / "file.pth")
        load(tmp_path / "file.pth", LPIPS_ALEX, tmp_path)
