"""Inception with random weights, and small real photographs for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from bench.features.networks.inception_network import Convolution, Inception


def photographs(count: int, side: int = 64) -> Tensor:
    """Cut uint8 [count, 3, side, side] from scikit-learn's two photographs, at seeded places."""
    rng = np.random.default_rng(0)
    sources: Sequence[np.ndarray] = load_sample_images().images
    cuts = []
    for i in range(count):
        source = sources[i % len(sources)]
        top, left = (int(rng.integers(0, size - side)) for size in source.shape[:2])
        cuts.append(source[top : top + side, left : left + side].transpose(2, 0, 1))
    return torch.from_numpy(np.stack(cuts).copy())


def random_inception(divisor: int = 1) -> dict[str, Tensor]:
    """Random weights, none of them zero, that keep the size of activations: features vary by a fifth.

    A `divisor` of 16 gives a network of 128 features, whose distances take no time.

    Fitting the normalisations to photographs would make a chaotic network, where rounding grows a hundredfold
    and float32 itself is 1e-5 from float64; here, as with the real weights, it is at 3e-7.
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        network = Inception(divisor)
    network.to_empty(device="cpu")
    nn.init.normal_(network.fc.weight, 0, 0.02)
    nn.init.normal_(network.fc.bias)
    for module in network.modules():
        if isinstance(module, Convolution):
            nn.init.kaiming_normal_(module.conv.weight)
            norm = module.bn
            assert (
                isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
            )
            for positive in (norm.weight, norm.running_var):
                nn.init.uniform_(positive, 0.5, 1.5)
            for either in (norm.bias, norm.running_mean):
                nn.init.normal_(either, 0, 0.2)
            nn.init.zeros_(norm.get_buffer("num_batches_tracked"))
    return network.state_dict()
