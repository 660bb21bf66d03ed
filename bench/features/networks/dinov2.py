"""DINOv2's class token as features of an image, for FD-DINOv2 (Stein et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.files import folder_sha256
from bench.features.names import DINO_FEATURES
from bench.features.precision import frozen_network
from bench.features.preprocess import bicubic
from bench.models.weights.folders import load_network

SIDE = 224
"""Side of the images that the network reads."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's pixels, with which the network was trained."""
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
"""The sizes of ViT-L/14, the network of published numbers."""


class DINOv2Features:
    """DINOv2 as an extractor: it maps uint8 images to the class token after the last norm."""

    def __init__(self, network: nn.Module, name: str, path: Path, batch_size: int = 32) -> None:
        """Take `network`, transformers' Dinov2Model in evaluation mode."""
        self.network = network
        self.name = name
        self.path = path
        self.sha256 = folder_sha256(path)
        self.batch_size = batch_size

    def __call__(self, images: Tensor) -> Tensor:
        """Return features [B, D] float32, on the CPU, of uint8 images [B, 3, H, W].

        As in dgm-eval, images are resized by Pillow's bicubic filter to bytes before they are scaled; autocast
        and TF32 are off.
        """
        device = next(self.network.parameters()).device
        mean, std = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (MEAN, STD))
        parts: list[Tensor] = []
        with frozen_network(device):
            for part in images.split(self.batch_size):
                pixels = bicubic(part, SIDE).to(device)
                tokens = self.network(pixel_values=(pixels.float() / 255 - mean) / std).last_hidden_state
                parts.append(tokens[:, 0].float().cpu())
        return torch.cat(parts)


def load_dinov2(folder: Path, device: torch.device | str = "cpu") -> DINOv2Features:
    """Load a Dinov2Model folder (facebook/dinov2-large, in transformers' format). Raises UserError.

    Only ViT-L/14 is called `dinov2-vitl14`; another size is named by its sizes, and not comparable. Position
    embeddings are resized as transformers does, without the 0.1 offset of the authors' repository.
    """
    try:
        from transformers import Dinov2Model
    except ImportError:
        raise UserError(
            "DINOv2 runs on transformers, which is not installed; fix: pip install 'distillation-bench[imagenet]'"
        ) from None
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not a DINOv2 folder in transformers' format: it has no config.json; "
            "fix: hf download facebook/dinov2-large --local-dir FOLDER"
        )
    network: Any = load_network(Dinov2Model, folder)
    sizes = {key: getattr(network.config, key) for key in LARGE}
    own = "dinov2-own-{hidden_size}-{num_hidden_layers}-{patch_size}".format(**sizes)
    name = DINO_FEATURES if sizes == LARGE else own
    return DINOv2Features(network.to(device), name, folder)
