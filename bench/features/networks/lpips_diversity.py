"""LPIPS diversity: the mean distance between the images of one prompt."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.core.extras import optional_module
from bench.core.progress import Progress
from bench.features.files import TRUNKS
from bench.features.networks.lpips_network import lpips_network
from bench.features.precision import frozen_network
from bench.features.preprocess import Squares
from bench.features.scoring import DiversityProtocol
from bench.features.weights import FoundWeights, find_weights

Activations = list[Tensor]
"""One image's unit vectors at every place of five layers."""


class LPIPSDiversity:
    """Distances between the images of a prompt; each image passes through the trunk once, not once per pair."""

    def __init__(self, model: Any, protocol: DiversityProtocol, weights: FoundWeights) -> None:
        """Take the package's LPIPS `model`, in evaluation mode, on its device."""
        self.model = model
        self.protocol = protocol
        self.path = weights.path
        self.sha256 = weights.sha256
        self.device: torch.device = next(model.parameters()).device
        self._lpips = optional_module("lpips", "LPIPS diversity", "text")

    def of_prompts(self, squares: Squares) -> np.ndarray:
        """Return the mean distance of each prompt's pairs, [prompts] float64.

        The images of a prompt follow each other in the batch. Raises UserError if a prompt is incomplete.
        """
        images, each = squares(self.protocol.size), self.protocol.images
        if len(images) % each:
            raise UserError(
                f"LPIPS diversity compares the {each} images of a prompt, and a batch has {len(images)}; "
                f"fix: leave it out, or take a protocol with {each} images of each prompt"
            )
        groups = images.split(each)
        return np.array([self.distances(group).mean(dtype=np.float64) for group in groups])

    def distances(self, images: Tensor) -> np.ndarray:
        """Return the distances of all pairs (i, j), i < j, of uint8 images [N, 3, H, W]: [N (N-1) / 2] float32.

        They equal the package's distances of single pairs, to the bit: the same
        operations run on one image or pair at a time.
        """
        with frozen_network(self.device):
            features = [self._activations(image[None].to(self.device)) for image in images]
            pairs = [self._distance(one, other) for one, other in itertools.combinations(features, 2)]
            return torch.cat(pairs).flatten().cpu().numpy()

    def pixels(self, images: Tensor) -> Tensor:
        """Convert uint8 to float32 in the protocol's range."""
        unit = images.float() / 255
        return unit if self.protocol.input_range == "unit" else 2 * unit - 1

    def _activations(self, image: Tensor) -> Activations:
        maps = self.model.net(self.model.scaling_layer(self.pixels(image)))
        return [self._lpips.normalize_tensor(layer) for layer in maps]

    def _distance(self, one: Activations, other: Activations) -> Tensor:
        """Return the distance [1, 1, 1, 1] of Zhang et al. 2018, arXiv:1801.03924, eq. 1."""
        total = torch.zeros(1, 1, 1, 1, device=self.device)
        for linear, x, y in zip(self.model.lins, one, other, strict=True):
            total += self._lpips.spatial_average(linear((x - y).square_()), keepdim=True)
        return total


def load_lpips(
    protocol: DiversityProtocol,
    weights: Path | None,
    cache: Path,
    *,
    download: bool,
    progress: Progress,
    device: torch.device | str = "cpu",
    own_weights: bool = False,
) -> LPIPSDiversity:
    """Load LPIPS 0.1 on a trunk from `weights`, torchvision's file, or from the cache (downloaded if `download`).

    Only tensors are read from files. Raises UserError if the trunk is missing, has another hash than the published
    one (unless `own_weights`), or is another network.
    """
    found = find_weights(TRUNKS[protocol.net], weights, cache, download, progress, own_weights)
    network = lpips_network(protocol.net, found.path, protocol.pooling).to(device)
    return LPIPSDiversity(network, protocol, found)
