"""The text encoder of scenes: one token per word and two transformer layers, trained with the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.core.errors import unknown
from bench.models.text.encoders import TextEncoder
from bench.models.text.layout import ConditionLayout
from tasks.scenes.data import WORDS

PAD = len(WORDS)
"""Token of a place without a word; the empty caption consists of it."""


class CaptionEncoder(TextEncoder):
    """An encoder of captions of at most `tokens` words; each word attends to all others (no causal mask).

    With `pooled` the mean of a caption's embeddings is its pooled one, which SD3's kind of network reads too.
    """

    def __init__(self, tokens: int, width: int, layers: int, heads: int, pooled: bool = False) -> None:
        super().__init__()
        self.layout = ConditionLayout(tokens, width, width if pooled else 0)
        self.words = nn.Embedding(len(WORDS) + 1, width)
        self.places = nn.Embedding(tokens, width)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return packed conditions [B, K] of tokens [B, L] int64."""
        embeddings = self.layers(self.words(tokens) + self.places.weight)
        return self.layout.pack(embeddings, embeddings.mean(1) if self.layout.pooled else None)

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens of captions, [B, L] int64. Raises UserError for a word that no caption has."""
        return torch.tensor([self._tokens(prompt) for prompt in prompts])

    def _tokens(self, prompt: str) -> list[int]:
        words = prompt.split()
        for word in words:
            if word not in WORDS:
                raise unknown(f"word in {prompt!r}:", word, WORDS)
        found = [WORDS.index(word) for word in words[: self.layout.tokens]]
        return found + [PAD] * (self.layout.tokens - len(found))

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        packed: Tensor = self(self.tokenize(prompts).to(self.device))
        return packed

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return [len(prompt.split()) <= self.layout.tokens for prompt in prompts]

    def null_condition(self) -> Tensor:
        return self.encode([""])
