"""PickScore: how much people who chose between images of a prompt would have liked this one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.errors import UserError, first_line
from tasks.extras import optional_module
from tasks.features.precision import frozen_network
from tasks.features.preprocess import to_pil
from tasks.files import folder_sha256

SOURCE = "https://huggingface.co/yuvalkirstain/PickScore_v1"
PROCESSOR = "https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
CONTEXT = 77


class PickScorer:
    """Scores images against their prompts: the logit of a CLIP network that was trained on people's choices."""

    def __init__(self, model: Any, processor: Any, folder: Path, sha256: str, batch_size: int = 16) -> None:
        """`model` and `processor` are transformers' CLIPModel, in evaluation mode, and CLIPProcessor."""
        self.model = model
        self.processor = processor
        self.folder = folder
        self.sha256 = sha256
        self.batch_size = batch_size
        self.device: torch.device = next(model.parameters()).device

    def scores(self, images: Tensor, prompts: Sequence[str]) -> np.ndarray:
        """Score uint8 images [B, 3, H, W] against B prompts: [B] float32, about 20 with the published weights.

        Source: Kirstain et al. 2023, arXiv:2305.01569.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts")
        found = []
        for start in range(0, len(prompts), self.batch_size):
            part = slice(start, start + self.batch_size)
            given = self.processor(
                images=[to_pil(image) for image in images[part].cpu()],
                text=list(prompts[part]),
                padding=True,
                truncation=True,
                max_length=CONTEXT,
                return_tensors="pt",
            )
            with frozen_network(self.device):
                logits = self.model(**given.to(self.device)).logits_per_image
            found.append(logits.diagonal().cpu().numpy())
        return np.concatenate(found)


def load_pickscore(folder: Path | None, *, device: str = "cpu", batch_size: int = 16) -> PickScorer:
    """Load a folder in transformers' format: PickScore's network (safetensors) and its CLIP processor together.

    Raises UserError if there is no folder, or it is not both.
    """
    mend = f"mend: name a folder with config.json, model.safetensors ({SOURCE}) and the processor ({PROCESSOR})"
    if folder is None or not (folder / "config.json").is_file():
        raise UserError(f"PickScore's network is not in {folder or 'any folder that was named'}; {mend}")
    transformers = optional_module("transformers", "PickScore", "text")
    try:
        model = transformers.CLIPModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        processor = transformers.CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, safetensors and json each have their own
        raise UserError(f"{folder} is not PickScore's: {first_line(error)}; {mend}") from error
    model.eval().requires_grad_(False).to(device)
    return PickScorer(model, processor, folder, folder_sha256(folder), batch_size)
