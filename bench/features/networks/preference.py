"""Preference models: networks that were trained on people's choices between images of a prompt."""

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
from bench.features.networks.clip import CLIPScorer, load_clip
from bench.features.precision import frozen_network
from bench.features.preprocess import to_pil
from bench.features.scoring import HPS_PROTOCOL, PREFERENCES, clip_protocol
from bench.models.weights.folders import load_network

PICKSCORE_FILES = ("*.json", "*.txt", "*.safetensors")
"""The files that are read of PickScore's folder."""
CONTEXT = 77


class PreferenceScores(NamedTuple):
    """The scores of a batch of images."""

    values: np.ndarray
    """[B] float32, or float64 for HPS; higher is better."""
    truncated: np.ndarray
    """[B] bool: the network read only the beginning of the prompt."""


class PreferenceModel(ABC):
    """A network that scores images against their prompts, a few at a time."""

    def __init__(self, path: Path, sha256: str, batch_size: int) -> None:
        self.path = path
        self.sha256 = sha256
        self.batch_size = batch_size

    def scores(self, images: Tensor, prompts: Sequence[str]) -> PreferenceScores:
        """Score uint8 images [B, 3, H, W] against B prompts."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts")
        starts = range(0, len(prompts), self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        found = [self.batch_scores(images[part].cpu(), list(prompts[part])) for part in parts]
        return PreferenceScores(*map(np.concatenate, zip(*found, strict=True)))

    @abstractmethod
    def batch_scores(self, images: Tensor, prompts: list[str]) -> PreferenceScores:
        """Score one batch of at most `batch_size` images, which are on the CPU."""


class HPS(PreferenceModel):
    """HPS v2.1: the cosine of image and prompt, times 100, by a CLIP network trained on people's choices.

    The authors' tables print it times 100; their package's `score` returns the cosine. Their network runs under
    autocast, here in float32. Source: Wu et al. 2023, arXiv:2306.09341.
    """

    def __init__(self, clip: CLIPScorer) -> None:
        super().__init__(clip.path, clip.sha256, clip.batch_size)
        self.clip = clip

    def batch_scores(self, images: Tensor, prompts: list[str]) -> PreferenceScores:
        if images.shape[-1] != images.shape[-2]:  # the package would pad them with black
            raise UserError(
                f"HPS is for square images, got {list(images.shape[-2:])}; fix: leave it out, or give square ones"
            )
        found = self.clip.scores(images, prompts)
        return PreferenceScores(100 * found.cosines, found.truncated)


class PickScore(PreferenceModel):
    """PickScore: a CLIP network's logit (cosine times a learned scale); about 20 with the published weights.

    Source: Kirstain et al. 2023, arXiv:2305.01569.
    """

    def __init__(self, model: Any, processor: Any, path: Path, sha256: str, batch_size: int) -> None:
        """Take transformers' CLIPModel `model`, in evaluation mode, and CLIPProcessor `processor`."""
        super().__init__(path, sha256, batch_size)
        self.model = model
        self.processor = processor
        self.device: torch.device = next(model.parameters()).device

    def batch_scores(self, images: Tensor, prompts: list[str]) -> PreferenceScores:
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
        return PreferenceScores(
            logits.diagonal().cpu().numpy(), np.array([len(tokens) > CONTEXT for tokens in whole])
        )


def load_hps(path: Path, *, device: torch.device | str = "cpu", batch_size: int = 16) -> HPS:
    """Read the tensors of HPS_v2.1_compressed.pt. Raises UserError if it is another network."""
    return HPS(load_clip(clip_protocol(HPS_PROTOCOL.name), path, device=device, batch_size=batch_size))


def load_pickscore(path: Path, *, device: torch.device | str = "cpu", batch_size: int = 16) -> PickScore:
    """Load a folder in transformers' format with PickScore's network (safetensors) and its CLIP processor.

    Raises UserError if the folder or one of the two is missing or damaged.
    """
    fix = f"fix: name {PREFERENCES['pickscore'].files} ({PREFERENCES['pickscore'].source})"
    if not (path / "config.json").is_file():
        raise UserError(f"{path} is not PickScore's folder: it has no config.json; {fix}")
    transformers = optional_module("transformers", "PickScore", "text")
    try:
        model = load_network(transformers.CLIPModel, path, fix.removeprefix("fix: "))
        processor = transformers.CLIPProcessor.from_pretrained(path, local_files_only=True)
    except UserError as error:
        raise UserError(f"{path} is not PickScore's: {error}") from None
    except Exception as error:  # transformers, safetensors and json raise many types
        raise UserError(f"{path} is not PickScore's: {first_line(error)}; {fix}") from error
    model.to(device)
    return PickScore(model, processor, path, folder_sha256(path, PICKSCORE_FILES), batch_size)
