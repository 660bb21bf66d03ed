"""VQAScore: how probable a network finds the answer yes to whether an image shows its prompt.

The published number uses CLIP-FlanT5, a network that transformers does not have. InstructBLIP-FlanT5, which the
authors' package also offers, is in transformers. Source: Lin et al. 2024, arXiv:2404.01291.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import UserError, first_line
from bench.core.extras import optional_module
from bench.features.base import FeatureExtractor
from bench.features.views import Features
from bench.features.weights import FoundWeights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.features.batch import Extract, ImageBatch

QUESTION = 'Question: Does this figure show "{}"? Please answer yes or no.'
"""The authors' question to InstructBLIP; they ask CLIP-FlanT5 without `Question:`, and rate its answer `Yes`."""
ANSWER = "yes"
SOURCE = "Salesforce/instructblip-flan-t5-xl"


class VQAScorer:
    """InstructBLIP on FlanT5, which reads an image and a question, and rates one answer."""

    def __init__(self, network: Any, processor: Any, batch_size: int = 8) -> None:
        """Take transformers' InstructBlipForConditionalGeneration, in evaluation mode, and its processor."""
        self.network = network
        self.processor = processor
        self.batch_size = batch_size
        self.device: torch.device = next(network.parameters()).device

    def scores(self, images: Tensor, prompts: Sequence[str]) -> np.ndarray:
        """Return scores [B], from 0 to 1, of images uint8 [B, 3, H, W] and B prompts."""
        starts = range(0, len(prompts), self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        return np.concatenate([np.zeros(0), *(self._scores(images[part], list(prompts[part])) for part in parts)])

    def _scores(self, images: Tensor, prompts: list[str]) -> np.ndarray:
        """Return the geometric mean of the probabilities of the answer's tokens, the end among them."""
        import torch

        from bench.features.precision import frozen_network
        from bench.features.preprocess import to_pil

        given = self.processor(
            images=[to_pil(image) for image in images],
            text=[QUESTION.format(prompt) for prompt in prompts],
            padding=True,
            return_tensors="pt",
        )
        answer = self.processor.tokenizer(ANSWER, return_tensors="pt").input_ids.repeat(len(prompts), 1)
        with frozen_network(self.device):
            logits = self.network(**given.to(self.device), labels=answer.to(self.device)).logits
            rows = logits.log_softmax(dim=-1).gather(2, answer[..., None].to(self.device))[..., 0]
        return torch.exp(rows.mean(dim=1)).cpu().double().numpy()


def load_vqascore(folder: Path, device: torch.device | str = "cpu") -> VQAScorer:
    """Read a folder with a network (safetensors) and its processor. Raises UserError if it is another network."""
    from bench.models.weights.folders import load_network

    transformers = optional_module("transformers", "VQAScore", "text")
    fix = f"hf download {SOURCE} --local-dir FOLDER"
    network = load_network(transformers.InstructBlipForConditionalGeneration, folder, fix)
    if not network.config.text_config.is_encoder_decoder:
        raise UserError(
            f"{folder} answers by {network.config.text_config.model_type}, but VQAScore here reads InstructBLIP "
            f"on FlanT5; fix: {fix}"
        )
    try:
        processor = transformers.InstructBlipProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, tokenizers and json raise many types
        raise UserError(f"{folder} has no processor of InstructBLIP: {first_line(error)}; fix: {fix}") from error
    return VQAScorer(network.to(device), processor)


@dataclass(frozen=True)
class VQAScoreExtractor(FeatureExtractor):
    """VQAScore by InstructBLIP-FlanT5."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the network."""
        return partial(vqa_scores, load_vqascore(files[self.weights[0].name], device))

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return a name that says which network answers, with its hash."""
        shown = f"{self.name} by InstructBLIP-FlanT5 with the answer {ANSWER} (not CLIP-FlanT5)"
        return super().network(found, code_sha256).replace(self.name, shown, 1)


def vqa_scores(scorer: VQAScorer, batch: ImageBatch) -> Features:
    """Return the score of each image and its prompt. Raises UserError if there are no prompts."""
    if len(batch.prompts) != len(batch):
        raise UserError("VQAScore reads the prompts of images, and these have none; fix: leave vqascore out")
    images = batch.images.expand(-1, 3, -1, -1)
    return Features(np.zeros((len(batch), 0)), scores={"vqascore": scorer.scores(images, batch.prompts)})
