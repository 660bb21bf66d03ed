"""LAION's improved aesthetic predictor: a linear head on CLIP ViT-L/14's image embedding."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.features.networks.clip import CLIPScorer, load_clip
from bench.features.precision import frozen_network
from bench.features.scoring import CLIPProtocol
from bench.models.weights.state_dicts import fill, read_state_dict

WIDTHS = (768, 1024, 128, 64, 16, 1)
"""Sizes of the head's layers. There is nothing between them but the dropout of its training."""
PLACES = (0, 2, 4, 6, 7)
"""Places of the layers in the published file, where dropout takes a place after each of the first three."""


class AestheticHead(nn.Module):
    """The published head: from unit embeddings [B, 768] to scores [B], by linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        sizes = zip(PLACES, itertools.pairwise(WIDTHS), strict=True)
        self.layers = nn.ModuleDict({str(place): nn.Linear(*both) for place, both in sizes})

    def forward(self, embeddings: Tensor) -> Tensor:
        for layer in self.layers.values():
            embeddings = layer(embeddings)
        return embeddings[:, 0]


class AestheticPredictor:
    """The score of each image, about 1 to 10; it reads no prompt."""

    def __init__(self, clip: CLIPScorer, head: AestheticHead) -> None:
        """Take CLIP and the head, in evaluation mode on one device."""
        self.clip = clip
        self.head = head

    def scores(self, images: Tensor) -> np.ndarray:
        """Return the scores [B] float32 of uint8 images [B, 3, H, W], which CLIP's own transform reduces."""
        embeddings = self.clip.embed_images(images)
        with frozen_network(self.clip.device):
            found: Tensor = self.head(embeddings.to(self.clip.device))
        return found.cpu().numpy()


def load_aesthetic(
    protocol: CLIPProtocol, clip: Path, head: Path, device: torch.device | str
) -> AestheticPredictor:
    """Read CLIP from open_clip's file, and the head from its published one; only tensors are read.

    Raises UserError, with the tensors' names, if one of them is another network.
    """
    network = AestheticHead()
    fill(network, read_state_dict(head), str(head), "LAION's improved aesthetic predictor")
    network.eval().requires_grad_(False).to(device)
    return AestheticPredictor(load_clip(protocol, clip, device=device), network)
