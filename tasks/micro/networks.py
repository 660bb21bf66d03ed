"""The feature classifier of the micro tasks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Extraction:
    """The feature network's output for a batch: features [B, D] and class logits [B, K]."""

    features: Tensor
    logits: Tensor


class FeatureClassifier(nn.Module):
    """A small convolutional classifier whose last hidden layer is the feature space of FD, KID and P/R."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int, features: int) -> None:
        super().__init__()
        channels, *sides = image_shape
        height, across = ((side + 3) // 4 for side in sides)  # after two convolutions of stride 2
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4 * width * height * across, features),
            nn.SiLU(),
        )
        self.output = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Extraction:
        """Return features and logits of images [B, C, H, W] in [-1, 1]."""
        features = self.trunk(images)
        return Extraction(features, self.output(features))
