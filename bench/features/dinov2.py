"""DINOv2's class token as features of an image, for FD-DINOv2 (Stein et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.files import folder_sha256
from bench.features.names import DINO_FEATURES
from bench.features.precision import frozen_network
from bench.models.weights.folders import load_network

SIDE = 224
"""Side of the images that the network sees."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, as the network was trained with."""
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
"""What makes a network ViT-L/14, the one that published numbers are about."""


class DINOv2Features:
    """DINOv2 as an extractor: uint8 images in, the class token after the last norm out."""

    def __init__(self, network: nn.Module, name: str, path: Path, batch_size: int = 32) -> None:
        """`network` is transformers' Dinov2Model, in evaluation mode."""
        self.network = network
        self.name = name
        self.path = path
        self.sha256 = folder_sha256(path)
        self.batch_size = batch_size

    def __call__(self, images: Tensor) -> Tensor:
        """Extract from uint8 images [B, 3, H, W]: [B, D] float32, on the CPU.

        As dgm-eval has it, images are resized by Pillow's bicubic filter and are bytes again before they are
        scaled; autocast and TF32 are off.
        """
        device = next(self.network.parameters()).device
        mean, std = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (MEAN, STD))
        parts: list[Tensor] = []
        with frozen_network(device):
            for part in images.split(self.batch_size):
                seen = torch.stack([resized(image) for image in part]).to(device)
                tokens = self.network(pixel_values=(seen.float() / 255 - mean) / std).last_hidden_state
                parts.append(tokens[:, 0].float().cpu())
        return torch.cat(parts)


def resized(image: Tensor) -> Tensor:
    """Resize one image uint8 [3, H, W] to [3, 224, 224] as Pillow does, bicubic, to bytes."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    small = np.array(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return torch.from_numpy(small).permute(2, 0, 1)


def load_dinov2(folder: Path, device: torch.device | str = "cpu") -> DINOv2Features:
    """Load a Dinov2Model folder (facebook/dinov2-large, in transformers' format). Raises UserError.

    Only ViT-L/14 is called `dinov2-vitl14`; another size is named by its sizes, and not comparable. Position
    embeddings are resized as transformers does, without the 0.1 offset of the authors' repository.
    """
    try:
        from transformers import Dinov2Model
    except ImportError:
        raise UserError("DINOv2 needs transformers: pip install 'distillation-bench[imagenet]'") from None
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is no DINOv2 in transformers' format: it has no config.json; "
            "get one: hf download facebook/dinov2-large --local-dir FOLDER"
        )
    network: Any = load_network(Dinov2Model, folder)
    sizes = {key: getattr(network.config, key) for key in LARGE}
    own = "dinov2-own-{hidden_size}-{num_hidden_layers}-{patch_size}".format(**sizes)
    name = DINO_FEATURES if sizes == LARGE else own
    return DINOv2Features(network.to(device), name, folder)
