"""Answers to questions about images by BLIP-VQA, from a folder in transformers' format.

DPG-Bench's own network is mPLUG (large, COCO) of modelscope, which transformers does not have. BLIP answers other
questions rightly, so that its numbers compare only with its own. Source: Li et al. 2022, arXiv:2201.12086.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import UserError, first_line
from bench.core.extras import optional_module
from bench.features.precision import frozen_network
from bench.features.preprocess import to_pil
from bench.models.weights.folders import load_network

SOURCE = "Salesforce/blip-vqa-base"
MOST_TOKENS = 10
"""Tokens of an answer."""


class BLIPAnswers:
    """BLIP's most likely answer, word by word, to each question about an image."""

    def __init__(self, network: Any, processor: Any, batch_size: int) -> None:
        """Take transformers' BlipForQuestionAnswering, in evaluation mode, and its BlipProcessor."""
        self.network = network
        self.processor = processor
        self.batch_size = batch_size
        self.device: torch.device = next(network.parameters()).device

    def __call__(self, image: Tensor, questions: Sequence[str]) -> list[str]:
        """Return the answers to questions about an image, uint8 [3, H, W], in lower case."""
        pixels = self.processor.image_processor(images=to_pil(image), return_tensors="pt").pixel_values
        answers: list[str] = []
        for start in range(0, len(questions), self.batch_size):
            part = list(questions[start : start + self.batch_size])
            read = self.processor.tokenizer(part, padding=True, return_tensors="pt")
            with frozen_network(self.device):
                found = self.network.generate(
                    input_ids=read.input_ids.to(self.device),
                    attention_mask=read.attention_mask.to(self.device),
                    pixel_values=pixels.expand(len(part), -1, -1, -1).to(self.device),
                    max_new_tokens=MOST_TOKENS,
                    do_sample=False,
                    num_beams=1,
                )
            words = self.processor.tokenizer.batch_decode(found[:, 1:], skip_special_tokens=True)  # after [DEC]
            answers += [word.strip().lower() for word in words]
        return answers


def load_blip_vqa(folder: Path, device: torch.device | str = "cpu", batch_size: int = 16) -> BLIPAnswers:
    """Read a folder with a network (safetensors) and its processor. Raises UserError if one is missing."""
    transformers = optional_module("transformers", "BLIP-VQA", "text")
    fix = f"hf download {SOURCE} --local-dir FOLDER"
    network = load_network(transformers.BlipForQuestionAnswering, folder, fix)
    try:
        processor = transformers.BlipProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, tokenizers and json raise many types
        raise UserError(f"{folder} has no processor of BLIP: {first_line(error)}; fix: {fix}") from error
    return BLIPAnswers(network.to(device), processor, batch_size)
