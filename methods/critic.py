"""The critic: a trained fake-score denoiser with a discriminator head on its bottleneck."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.models.denoiser import Denoiser


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it gradients pass through the network to its input, and leave nothing in its parameters."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class Noised(NamedTuple):
    """A batch of noised images: x_t [B, C, H, W], their times t [B], their conditions [B]."""

    x_t: Tensor
    t: Tensor
    condition: Tensor


class Verdict(NamedTuple):
    """What the critic says: denoised images [B, C, H, W] and logits [B'], each only if asked for."""

    x0: Tensor | None
    logits: Tensor | None


class Critic(nn.Module):
    """mu_fake and, where the method has a GAN term, the discriminator that reads its bottleneck.

    Both go through this module's forward: under DDP a call that by-passes it has unsynchronised gradients.
    """

    def __init__(self, denoiser: Denoiser, head: nn.Module | None) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.head = head

    def forward(
        self, denoise: Noised | None = None, judge: Noised | None = None, judge_denoised: bool = False
    ) -> Verdict:
        """Denoise one batch and judge another (real or fake), in one call so that DDP sees one forward.

        With `judge_denoised` the batch to denoise is judged too, in the same pass; its logits come last.
        """
        x0, features = None, list[Tensor]()
        if judge is not None:
            features.append(self.denoiser.features(*judge))
        if denoise is not None and judge_denoised:
            x0, found = self.denoiser.with_features(*denoise)
            features.append(found)
        elif denoise is not None:
            x0 = self.denoiser(*denoise)
        if not features:
            return Verdict(x0, None)
        assert self.head is not None, "a critic without a discriminator was asked to judge"
        return Verdict(x0, self.head(torch.cat(features)).flatten())


def discriminator_head(channels: int, size: int) -> nn.Sequential:
    """Build the classification branch: [B, channels, size, size] -> [B, 1, 1, 1] (DMD2, F.1).

    4x4 convolutions of stride 2 down to 4x4 (or less), one convolution that pools what is left, then a
    linear map; group norm and SiLU between them. 18,879,745 parameters for ImageNet-64's 768 x 8 x 8.
    """
    layers: list[nn.Module] = []
    while size > 4:
        layers += [nn.Conv2d(channels, channels, 4, stride=2, padding=1), _norm(channels), nn.SiLU()]
        size //= 2
    layers += [nn.Conv2d(channels, channels, size), _norm(channels), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))


def _norm(channels: int) -> nn.GroupNorm:
    """Group norm of 32 groups, fewer where a group would hold under 8 channels.

    After the pooling convolution a group has nothing but its channels: with one, its output is always 0.
    """
    groups = max(1, min(32, channels // 8))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)
