"""The critic: a trained fake-score denoiser with discriminator heads on its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.models.denoiser import Denoiser, FeatureShape
from bench.training.context import Noised


class CriticOutput(NamedTuple):
    """The critic's output: denoised images [B, C, H, W] and logits [B', heads]; None if not requested."""

    x0: Tensor | None
    logits: Tensor | None


class Critic(nn.Module):
    """mu_fake and, in methods with a GAN term, the discriminator, which has one head for each feature.

    Both are called through this module's forward. Under DDP any other call leaves gradients unsynchronised.
    """

    def __init__(
        self, denoiser: Denoiser, heads: Sequence[nn.Module] = (), reader: Denoiser | None = None
    ) -> None:
        """Combine a denoiser with `heads`: none, or one for each feature that returns a logit for each sample.

        `reader`: another network whose features the heads read, the frozen teacher. It is no part of this module.
        """
        super().__init__()
        assert len(heads) in (0, len(denoiser.feature_shapes)), "a critic has one head for each feature, or none"
        self.denoiser = denoiser
        self.heads = nn.ModuleList(heads)
        self._reader = (reader,)  # in a tuple, so that its weights are not this module's

    def forward(
        self, denoise: Noised | None = None, classify: Noised | None = None, classify_denoised: bool = False
    ) -> CriticOutput:
        """Denoise one batch and classify another as real or fake, in one call, which DDP requires.

        With `classify_denoised` the batch to denoise is classified too, in the same pass if the heads read this
        network; its logits come last.
        """
        x0, batches = None, list[tuple[Tensor, ...]]()
        reader = self._reader[0] or self.denoiser
        if classify is not None:
            batches.append(reader.features(*classify))
        if denoise is not None and classify_denoised and reader is self.denoiser:
            x0, features = self.denoiser.with_features(*denoise)
            batches.append(features)
        elif denoise is not None:
            x0 = self.denoiser(*denoise)
            if classify_denoised:
                batches.append(reader.features(*denoise))
        if not batches:
            return CriticOutput(x0, None)
        assert self.heads, "a critic without a discriminator cannot classify"
        by_place = (torch.cat(features) for features in zip(*batches, strict=True))
        logits = [head(features).flatten() for head, features in zip(self.heads, by_place, strict=True)]
        return CriticOutput(x0, torch.stack(logits, 1))


def discriminator_head(shape: FeatureShape) -> nn.Sequential:
    """Build a classification branch for features of this shape: a map (C, H, W) or tokens (N, D)."""
    if len(shape) == 2:
        return token_head(shape[1])
    channels, size, _ = shape
    return map_head(channels, size)


def token_head(width: int) -> nn.Sequential:
    """Build the branch for tokens: [B, N, width] -> [B, 1], one hidden layer for each token, then their mean."""
    return nn.Sequential(
        nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, 1), nn.Flatten(), _Mean()
    )


class _Mean(nn.Module):
    """A layer that averages over tokens: [B, N] -> [B, 1]."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.mean(1, keepdim=True)


def map_head(channels: int, size: int) -> nn.Sequential:
    """Build the branch for maps: [B, channels, size, size] -> [B, 1, 1, 1] (DMD2, F.1).

    4x4 convolutions of stride 2 reduce the map to 4x4 or less. One convolution pools the rest, and a linear map
    follows; group norm and SiLU are between them. For ImageNet-64's 768 x 8 x 8 it has 18,879,745 parameters.
    """
    layers: list[nn.Module] = []
    while size > 4:
        layers += [nn.Conv2d(channels, channels, 4, stride=2, padding=1), _norm(channels), nn.SiLU()]
        size //= 2
    layers += [nn.Conv2d(channels, channels, size), _norm(channels), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))


def _norm(channels: int) -> nn.GroupNorm:
    """Build a group norm of 32 groups, or fewer so that each has at least 8 channels.

    After the pooling convolution a group consists of its channels alone; with one channel its output would be 0.
    """
    groups = max(1, min(32, channels // 8))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)
