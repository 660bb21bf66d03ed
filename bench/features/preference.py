"""Preference models: how much people who chose between images of a prompt would have liked this one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import UserError, first_line
from bench.core.extras import optional_module
from bench.core.files import folder_sha256
from bench.features.clip import CLIPScorer, load_clip
from bench.features.precision import frozen_network
from bench.features.preprocess import to_pil
from bench.features.scoring import HPS_PROTOCOL, PREFERENCES, clip_protocol
from bench.models.weights.folders import load_network

PICKSCORE_FILES = ("*.json", "*.txt", "*.safetensors")
"""What is read of PickScore's folder."""
CONTEXT = 77


class Liked(NamedTuple):
    """What a batch of images scores."""

    values: np.ndarray
    """[B] float32; higher is better liked."""
    truncated: np.ndarray
    """[B] bool: the network saw only the beginning of the prompt."""


class PreferenceModel(ABC):
    """Scores images against their prompts, a few at a time."""

    def __init__(self, path: Path, sha256: str, batch_size: int) -> None:
        self.path = path
        self.sha256 = sha256
        self.batch_size = batch_size

    def scores(self, images: Tensor, prompts: Sequence[str]) -> Liked:
        """Score uint8 images [B, 3, H, W] against B prompts."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts")
        starts = range(0, len(prompts), self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        found = [self.batch_scores(images[part].cpu(), list(prompts[part])) for part in parts]
        return Liked(*map(np.concatenate, zip(*found, strict=True)))

    @abstractmethod
    def batch_scores(self, images: Tensor, prompts: list[str]) -> Liked:
        """Score so many as the network sees at once, on the CPU."""


class HPS(PreferenceModel):
    """HPS v2.1: the cosine of image and prompt, times 100, by a CLIP network trained on people's choices.

    The authors' tables print it times 100, their package's `score` gives the cosine. Their network runs under
    autocast, here in float32. Source: Wu et al. 2023, arXiv:2306.09341.
    """

    def __init__(self, clip: CLIPScorer) -> None:
        super().__init__(clip.path, clip.sha256, clip.batch_size)
        self.clip = clip

    def batch_scores(self, images: Tensor, prompts: list[str]) -> Liked:
        if images.shape[-1] != images.shape[-2]:  # the package would put them on black squares
            raise ValueError(f"HPS is for square images, got {list(images.shape[-2:])}")
        found = self.clip.scores(images, prompts)
        return Liked(100 * found.cosines, found.truncated)


class PickScore(PreferenceModel):
    """PickScore: a CLIP network's logit, its cosine times its own scale; about 20 with the published weights.

    Source: Kirstain et al. 2023, arXiv:2305.01569.
    """

    def __init__(self, model: Any, processor: Any, path: Path, sha256: str, batch_size: int) -> None:
        """`model` and `processor` are transformers' CLIPModel, in evaluation mode, and CLIPProcessor."""
        super().__init__(path, sha256, batch_size)
        self.model = model
        self.processor = processor
        self.device: torch.device = next(model.parameters()).device

    def batch_scores(self, images: Tensor, prompts: list[str]) -> Liked:
        given = self.processor(
            images=[to_pil(image) for image in images],
            text=prompts,
            padding=True,
            truncation=True,
            max_length=CONTEXT,
            return_tensors="pt",
        )
        with frozen_network(self.device):
            logits = self.model(**given.to(self.device)).logits_per_image
        whole = self.processor.tokenizer(prompts, verbose=False).input_ids
        return Liked(logits.diagonal().cpu().numpy(), np.array([len(tokens) > CONTEXT for tokens in whole]))


def load_hps(path: Path, *, device: torch.device | str = "cpu", batch_size: int = 16) -> HPS:
    """Read HPS_v2.1_compressed.pt, of which only tensors are read. Raises UserError if it is another network."""
    return HPS(load_clip(clip_protocol(HPS_PROTOCOL.name), path, device=device, batch_size=batch_size))


def load_pickscore(path: Path, *, device: torch.device | str = "cpu", batch_size: int = 16) -> PickScore:
    """Load a folder in transformers' format: PickScore's network (safetensors) and its CLIP processor together.

    Raises UserError if there is no such folder, or it is not both.
    """
    mend = f"fix: name {PREFERENCES['pickscore'].files} ({PREFERENCES['pickscore'].source})"
    if not (path / "config.json").is_file():
        raise UserError(f"PickScore's network is not in {path}: it has no config.json; {mend}")
    transformers = optional_module("transformers", "PickScore", "text")
    try:
        model = load_network(transformers.CLIPModel, path, mend.removeprefix("fix: "))
        processor = transformers.CLIPProcessor.from_pretrained(path, local_files_only=True)
    except UserError as error:
        raise UserError(f"{path} is not PickScore's: {error}") from None
    except Exception as error:  # transformers, safetensors and json each have their own
        raise UserError(f"{path} is not PickScore's: {first_line(error)}; {mend}") from error
    model.to(device)
    return PickScore(model, processor, path, folder_sha256(path, PICKSCORE_FILES), batch_size)
