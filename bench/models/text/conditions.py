"""Conditions of a list of prompts, encoded on first use and kept if they fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.core.errors import listed
from bench.core.transfers import sent
from bench.models.text.encoders import TextEncoder

KEPT_BYTES = 2**31
"""Conditions of a list that take more bytes than this are not kept: 500,000 captions take 300 GB with SDXL."""


class PromptConditions:
    """Conditions [B, K] by position in a list of prompts.

    Each prompt is encoded alone, so that its condition does not depend on the rest of the batch. With others
    beside it, a network rounds differently: tiny encoders of SDXL and SD3 by up to 7e-7, in values up to 3.6.
    A prompt that a batch has several times, as where there are several images of it, is encoded once.
    """

    def __init__(self, encoder: TextEncoder, prompts: Sequence[str], kept_bytes: int = KEPT_BYTES) -> None:
        self.encoder = encoder
        self.prompts = prompts
        self._keeps = 4 * encoder.layout.size * len(prompts) <= kept_bytes
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    def __call__(self, positions: Tensor, device: torch.device | None = None) -> Tensor:
        """Return conditions [B, K] on a device, or on that of `positions` [B]; the encoder moves there.

        Positions on the CPU are read at once; those on a GPU only when it has done all that it was given.
        """
        device = device or positions.device
        self.encoder.to(device)
        prompts = [self.prompts[i] for i in positions.tolist()]
        found = {prompt: self._of(prompt) for prompt in dict.fromkeys(prompts)}
        return sent(torch.stack([found[prompt] for prompt in prompts]), device)

    def _of(self, prompt: str) -> Tensor:
        if prompt not in self._kept:
            found = self.encoder.encode([prompt])[0]
            if not self._keeps:
                return found
            self._kept[prompt] = found.cpu()
        return self._kept[prompt]  # on the CPU even the first time, because a batch mixes kept and new conditions


def note_cut(whole: Sequence[bool], what: str, note: Callable[[str], None]) -> None:
    """Show a note if an encoder reads only the beginning of some prompts, as `read_whole` says of each.

    `what` names the prompts.
    """
    cut = [place for place, read in enumerate(whole) if not read]
    if cut:
        note(
            f"{len(whole):,} {what}: {len(cut):,} longer than the text encoder reads, and cut there, at "
            f"{listed(cut)} (counted from 0)"
        )
