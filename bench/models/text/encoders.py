"""Text encoders of Stable Diffusion and SDXL, which turn prompts into packed conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedTokenizerBase

from bench.models.text.layout import ConditionLayout


class TextEncoder(nn.Module, ABC):
    """Frozen networks that turn prompts into conditions laid out by `layout`."""

    layout: ConditionLayout

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts as conditions [B, K] on the encoder's device; long prompts are cut.

        This runs in float32 whatever the precision of the training, as official runs do, so that training and
        evaluation have the same conditions.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self.encoded(prompts)

    @abstractmethod
    def encoded(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts as `encode` does, in the precision that is set."""

    @abstractmethod
    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        """Return of each prompt whether the network with the most tokens reads it to its end."""

    @abstractmethod
    def null_condition(self) -> Tensor:
        """Return the unconditional entry [1, K] of classifier-free guidance."""


class CLIPEncoder(TextEncoder):
    """The encoder of Stable Diffusion 1.5: the last hidden state of one CLIP text model; "" is unconditional."""

    def __init__(self, tokenizer: CLIPTokenizer, model: CLIPTextModel) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model
        self.layout = ConditionLayout(model.config.max_position_embeddings, model.config.hidden_size)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        tokens = tokenize(self.tokenizer, prompts, self.layout.tokens).to(self.device)
        return self.layout.pack(self.model(tokens).last_hidden_state.float())

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return fit(self.tokenizer, prompts, self.layout.tokens)

    def null_condition(self) -> Tensor:
        return self.encode([""])


class SDXLEncoder(TextEncoder):
    """The encoder of SDXL: the last hidden states but one of two CLIP models, and the second's projection."""

    def __init__(
        self,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        models: tuple[CLIPTextModel, CLIPTextModelWithProjection],
        zero_null: bool = True,
    ) -> None:
        """With `zero_null` the unconditional entry is zero (SDXL's own pipeline, DMD2), else it is "" encoded."""
        super().__init__()
        self.tokenizers = tokenizers
        self.models = nn.ModuleList(models)
        self.zero_null = zero_null
        one, two = (model.config for model in models)
        self.layout = ConditionLayout(
            one.max_position_embeddings, one.hidden_size + two.hidden_size, two.projection_dim
        )

    def with_first_tokenizer(self) -> SDXLEncoder:
        """Return an encoder of the same networks with the token padding of DMD2's official evaluation.

        There, unlike in its training, the second network reads the first one's tokens, which are padded with the
        end-of-text token and not with "!".
        """
        first, (one, two) = self.tokenizers[0], self.models
        return SDXLEncoder((first, first), (one, two), self.zero_null)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        hidden, pooled = [], None
        for tokenizer, model in zip(self.tokenizers, self.models, strict=True):
            tokens = tokenize(tokenizer, prompts, self.layout.tokens).to(self.device)
            output = model(tokens, output_hidden_states=True)
            hidden.append(output.hidden_states[-2].float())
            pooled = output[0]  # the projected embedding; that of the last model is kept
        assert pooled is not None
        return self.layout.pack(torch.cat(hidden, -1), pooled.float())

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return fit(self.tokenizers[0], prompts, self.layout.tokens)

    def null_condition(self) -> Tensor:
        if not self.zero_null:
            return self.encode([""])
        return torch.zeros(1, self.layout.size, device=self.device)


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str], length: int) -> Tensor:
    """Turn prompts into token numbers [B, length]: begin, text, end, padding; long prompts are cut."""
    found = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    tokens: Tensor = found.input_ids
    return tokens


def lower_case(prompts: Sequence[str]) -> list[str]:
    """Return prompts as PixArt and SANA read them: in lower case, without blanks around them."""
    return [prompt.lower().strip() for prompt in prompts]


def fit(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> list[bool]:
    """Return of each text whether it has at most `length` tokens, with those at its beginning and end."""
    found = tokenizer(list(texts), return_attention_mask=False, verbose=False)  # verbose would warn of long ones
    return [len(tokens) <= length for tokens in found.input_ids]
