"""The T5 encoder of text-to-image pipelines (SD3, FLUX.1): prompts to embeddings of a fixed number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import T5EncoderModel, T5TokenizerFast

from bench.models.text.encoders import fit
from bench.models.text.parts import read_tokenizer
from bench.models.weights.folders import load_network


class T5Encoder(nn.Module):
    """A T5 encoder with its tokenizer. Padding is attended to, as the published pipelines do."""

    def __init__(self, tokenizer: Any, model: T5EncoderModel, tokens: int) -> None:
        """`tokens` is the number of tokens that each prompt is cut or padded to."""
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model
        self.tokens = tokens

    @property
    def width(self) -> int:
        """The size of an embedding."""
        return int(self.model.config.d_model)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts as embeddings [B, tokens, width] in float32, on the model's device."""
        found = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        )
        embeddings: Tensor = self.model(found.input_ids.to(self.model.device)).last_hidden_state
        return embeddings.float()

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        """Return of each prompt whether it is read to its end."""
        return fit(self.tokenizer, prompts, self.tokens)


def read_t5(tokenizer: Path, model: Path, tokens: int) -> T5Encoder:
    """Read a T5 encoder, float32, frozen, and its tokenizer from their folders. Raises UserError."""
    return T5Encoder(read_tokenizer(tokenizer, T5TokenizerFast), load_network(T5EncoderModel, model), tokens)
