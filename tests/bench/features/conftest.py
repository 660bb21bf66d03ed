"""Inception with random weights, in both files it comes in, and small real photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from inception_files import photographs, random_inception
from torch import Tensor, nn
from torch.nn import functional as F

from bench.features.networks.inception import PORT, TORCHSCRIPT
from bench.features.networks.inception_network import Inception, resize_tf1


@pytest.fixture(scope="session")
def photos() -> Tensor:
    return photographs(56)


@pytest.fixture(scope="session")
def state() -> dict[str, Tensor]:
    return random_inception()


@pytest.fixture(scope="session")
def plain(state: dict[str, Tensor]) -> Inception:
    """The network as it is written, without what makes it fast."""
    with torch.device("meta"):
        network = Inception()
    network.load_state_dict(state, assign=True)
    return network


@pytest.fixture(scope="session")
def port_file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("port") / PORT.name
    torch.save(state, path)
    return path


class Layers(nn.Module):
    """From scaled images at 299 x 299 to features [B, 2048, 1, 1], as `layers` of NVIDIA's file."""

    def __init__(self, network: Inception) -> None:
        super().__init__()
        children = dict(network.named_children())
        del children["fc"]
        self.chain = nn.Sequential(*children.values())

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.chain(x)
        return features.mean(dim=(2, 3), keepdim=True)


class Program(nn.Module):
    """The interface of NVIDIA's file; its resize is written here a second time, as one affine sampling."""

    def __init__(self, network: Inception) -> None:
        super().__init__()
        self.layers = torch.jit.trace(Layers(network), torch.zeros(1, 3, 75, 75), check_trace=False)
        self.output = network.fc

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        n, c, h, w = img.shape
        # In units where the image spans -1 ... 1, aligned corners are a shift of one half-pixel each.
        theta = torch.tensor([[1.0, 0.0, 1 / w - 1 / 299], [0.0, 1.0, 1 / h - 1 / 299]])
        grid = F.affine_grid(theta.repeat(n, 1, 1), [n, c, 299, 299], align_corners=False)
        x = F.grid_sample(img.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        features = self.layers((x - 128) / 128).flatten(1)
        if return_features:
            return features
        logits = features @ self.output.weight.t()
        return (logits if no_output_bias else logits + self.output.bias).softmax(1)


@pytest.fixture(scope="module")
def program_file(plain: Inception, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file as NVIDIA's; while it is in use, programs run as they are: optimising one takes seconds."""
    path = tmp_path_factory.mktemp("program") / TORCHSCRIPT.name
    torch.jit.script(Program(plain).eval()).save(path)
    with torch.jit.optimized_execution(False):
        yield path


@pytest.fixture(scope="session")
def wide(photos: Tensor) -> Tensor:
    """A few photographs as Inception sees them: 299 x 299, float, grey levels."""
    return resize_tf1(photos[:3].float(), 299)
