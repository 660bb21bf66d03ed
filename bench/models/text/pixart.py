"""Read PixArt's pipelines (PixArt-alpha, PixArt-Sigma) from their folders; their encoder is T5 with a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from torch import Tensor
from transformers import T5EncoderModel, T5TokenizerFast

from bench.core.files import read_json
from bench.models.backbones.text import TextFamily, TextPipeline
from bench.models.text.encoders import TextEncoder, fit, lower_case
from bench.models.text.latents import LatentSpace
from bench.models.text.layout import ConditionLayout
from bench.models.text.parts import read_scheduler, read_tokenizer
from bench.models.weights.folders import load_network

TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""The number of embeddings of a prompt, by the class of the pipeline."""


class PixArtEncoder(TextEncoder):
    """The encoder of PixArt: T5's last hidden states, and the mask of padding, which T5 heeds too.

    Prompts are read in lower case; "" is unconditional.
    """

    def __init__(self, tokenizer: Any, model: T5EncoderModel, tokens: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model
        self.layout = ConditionLayout(tokens, model.config.d_model, mask=True)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        texts, length = lower_case(prompts), self.layout.tokens
        found = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).to(self.device)
        embeddings = self.model(found.input_ids, attention_mask=found.attention_mask).last_hidden_state
        return self.layout.pack(embeddings.float(), mask=found.attention_mask)

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return fit(self.tokenizer, lower_case(prompts), self.layout.tokens)

    def null_condition(self) -> Tensor:
        return self.encode([""])


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    tokens = TOKENS[read_json(folder / "model_index.json")["_class_name"]]
    tokenizer = read_tokenizer(folder / "tokenizer", T5TokenizerFast)
    return TextPipeline(
        family,
        family.read_network(folder / family.folder),
        LatentSpace(load_network(AutoencoderKL, folder / "vae")),
        PixArtEncoder(tokenizer, load_network(T5EncoderModel, folder / "text_encoder"), tokens),
        read_scheduler(folder),
    )
