"""Conditions of a list of prompts: encoded when they are asked for, and kept where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.models.text.encoders import TextEncoder

KEPT_BYTES = 2**31
"""Lists whose conditions take more than this are encoded anew each time: 500,000 captions of SDXL take 300 GB."""


class PromptConditions:
    """Conditions [B, K] by position in a list of prompts.

    Every prompt is encoded alone: a condition does not depend on which others are asked for with it.
    """

    def __init__(self, encoder: TextEncoder, prompts: Sequence[str], kept_bytes: int = KEPT_BYTES) -> None:
        self.encoder = encoder
        self.prompts = prompts
        self._keeps = 4 * encoder.layout.size * len(prompts) <= kept_bytes
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    def __call__(self, positions: Tensor) -> Tensor:
        """Return conditions [B, K] on the device of `positions` [B], where the encoder moves to."""
        self.encoder.to(positions.device)
        return torch.stack([self._of(self.prompts[i]) for i in positions.tolist()]).to(positions.device)

    def _of(self, prompt: str) -> Tensor:
        if prompt not in self._kept:
            found = self.encoder.encode([prompt])[0]
            if not self._keeps:
                return found
            self._kept[prompt] = found.cpu()
        return self._kept[prompt]  # on the CPU, the first time too: a batch mixes old and new
