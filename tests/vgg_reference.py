"""VGG16's convolutions as LPIPS sees them with piq's `replace_pooling`, written out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F


def average_pooled_activations(images: Tensor, state: Mapping[str, Tensor]) -> list[Tensor]:
    """What stands before each pooling and at the end, of normalised images; `state` is torchvision's VGG16."""
    at, found = images, []
    for layer in range(30):  # convolutions, ReLUs, a pooling after 2, 2, 3, 3
        if f"features.{layer}.weight" in state:
            at = F.conv2d(at, state[f"features.{layer}.weight"], state[f"features.{layer}.bias"], padding=1)
        elif layer in (4, 9, 16, 23):
            found.append(at)
            at = F.avg_pool2d(at, 2)
        else:
            at = F.relu(at)
    return [*found, at]
