"""The declarations of the built-in extractors that read images without their prompts. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.features.base import FeatureExtractor, Weights
from bench.features.scoring import CLIP_L14, CLIP_L14_336, OPEN_CLIP, CLIPProtocol

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract
    from bench.features.known import KnownImages

BICUBIC = "centre square in full resolution, Pillow's bicubic to {side} x {side}, CLIP's mean and deviation"


@dataclass(frozen=True)
class CLIPImageExtractor(FeatureExtractor):
    """CLIP's image embedding, divided by its length."""

    protocol: CLIPProtocol

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load open_clip's file."""
        from bench.features.extracting import clip_embeddings
        from bench.features.networks.clip import load_clip

        return partial(clip_embeddings, load_clip(self.protocol, files[self.weights[0].name], device=device))


@dataclass(frozen=True)
class AestheticExtractor(FeatureExtractor):
    """LAION's improved aesthetic predictor."""

    protocol: CLIPProtocol

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load CLIP and the head."""
        from bench.features.extracting import aesthetic_scores
        from bench.features.networks.aesthetic import load_aesthetic

        clip, head = (files[one.name] for one in self.weights)
        return partial(aesthetic_scores, load_aesthetic(self.protocol, clip, head, device))


class PixelExtractor(FeatureExtractor):
    """Saturation, sharpness and contrast of the pixels themselves."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:  # noqa: ARG002 (no weights)
        """Return the function; there is nothing to read."""
        from bench.features.extracting import pixel_features

        return pixel_features

    def known_answers(self) -> Sequence[KnownImages]:
        """Return a red, a grey and a chequered image, which alternates between two levels 10 apart."""
        import numpy as np

        from bench.features.known import KnownImages

        images = np.zeros((3, 3, 8, 8), np.uint8)
        images[0, 0], images[1], images[2] = 200, 77, 100 + 10 * (np.indices((8, 8)).sum(axis=0) % 2)
        # A chequered pixel is 10 from each of its four neighbours: a Laplacian of 40, of either sign.
        features = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1600, 5]])
        return (KnownImages("a red, a grey and a chequered image", images, features=features),)


CLIP_L14_WEIGHTS = Weights(CLIP_L14.role, OPEN_CLIP, CLIP_L14.source, "MIT")
"""OpenAI's CLIP ViT-L/14, which several extractors read."""

CLIP_IMAGES = CLIPImageExtractor(
    CLIP_L14_336.role,
    "OpenAI's CLIP ViT-L/14@336, images alone, for CMMD",
    (Weights(CLIP_L14_336.role, OPEN_CLIP, CLIP_L14_336.source, "MIT"),),
    BICUBIC.format(side=336),
    "768 features of length 1",
    protocol=CLIP_L14_336,
)
AESTHETIC = AestheticExtractor(
    "aesthetic",
    "LAION's improved aesthetic predictor (sac+logos+ava1, linear) on OpenAI's CLIP ViT-L/14",
    (
        CLIP_L14_WEIGHTS,
        Weights(
            "aesthetic",
            "sac+logos+ava1-l14-linearMSE.pth",
            "https://github.com/christophschuhmann/improved-aesthetic-predictor",
            "Apache-2.0",
        ),
    ),
    BICUBIC.format(side=224),
    "a score",
    protocol=CLIP_L14,
)
PIXELS = PixelExtractor(
    "pixels",
    "saturation, sharpness and contrast; no network",
    (),
    "centre square in full resolution, LANCZOS to 256 pixels if it is larger",
    "3 features",
)
