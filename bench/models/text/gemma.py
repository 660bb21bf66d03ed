"""The text encoder of SANA: Gemma 2, which reads an instruction before every prompt, and a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Gemma2Model, PreTrainedTokenizerBase

from bench.models.text.encoders import TextEncoder, fit, lower_case
from bench.models.text.layout import ConditionLayout

INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable "
        "for image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, "
        "sleeping peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing "
        "street lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by "
        "towering glass skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    )
)
"""The "complex human instruction" that SANA was trained and published with (Xie et al., 2024, Section 3.1)."""
TOKENS = 300
"""The number of embeddings of a prompt that SANA's networks take."""


class GemmaEncoder(TextEncoder):
    """The encoder of SANA: Gemma's last hidden states of a prompt after the instruction, and the mask of padding.

    Gemma reads the instruction and the prompt as one text. The network gets the embedding of the first token,
    which is the same for all prompts, and those from the instruction's last token on.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: Gemma2Model, tokens: int = TOKENS) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.tokenizer.padding_side = "right"  # Gemma's own is left, and SANA's positions are those of the right
        self.model = model
        self.layout = ConditionLayout(tokens, model.config.hidden_size, mask=True)
        self.length = len(tokenizer.encode(INSTRUCTION)) + tokens - 2  # of both texts, as in the published code

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        kept = self.layout.tokens
        embeddings, mask = self._read(_instructed(prompts), self.length)
        taken = [0, *range(1 - kept, 0)]
        return self.layout.pack(embeddings[:, taken], mask=mask[:, taken])

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return fit(self.tokenizer, _instructed(prompts), self.length)

    @torch.no_grad()
    def null_condition(self) -> Tensor:
        """Return the condition of "", without the instruction."""
        with torch.autocast(self.device.type, enabled=False):
            embeddings, mask = self._read([""], self.layout.tokens)
        return self.layout.pack(embeddings, mask=mask)

    def _read(self, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings [B, length, D], float32, and the mask [B, length] of texts; long ones are cut."""
        read = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        tokens, mask = read.input_ids.to(self.device), read.attention_mask.to(self.device)
        return self.model(tokens, attention_mask=mask).last_hidden_state.float(), mask


def _instructed(prompts: Sequence[str]) -> list[str]:
    return [INSTRUCTION + prompt for prompt in lower_case(prompts)]
