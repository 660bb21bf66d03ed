"""Stable Diffusion 3's pipelines (SD3, SD3.5): their text encoder of two CLIP models and T5, and their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from bench.core.errors import UserError
from bench.models.backbones.text import TextFamily
from bench.models.text.encoders import TextEncoder, tokenize
from bench.models.text.latents import LatentSpace
from bench.models.text.layout import ConditionLayout
from bench.models.text.parts import TextPipeline, read_scheduler, read_tokenizer
from bench.models.text.t5 import T5Encoder, read_t5
from bench.models.weights.folders import load_network

T5_TOKENS = 256
"""Tokens of a prompt for T5, StableDiffusion3Pipeline's default."""

Clips = tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection]


class SD3Encoder(TextEncoder):
    """The encoder of SD3: embeddings of two CLIP models side by side, then T5's; CLIP's two projections pooled.

    CLIP's embeddings, the last hidden states but one, are padded with zeros to T5's width. "" is unconditional.
    """

    def __init__(self, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], clips: Clips, t5: T5Encoder) -> None:
        """Raises UserError if CLIP's embeddings are wider than T5's."""
        super().__init__()
        self.tokenizers = tokenizers
        self.clips = nn.ModuleList(clips)
        self.t5 = t5
        one, two = (clip.config for clip in clips)
        self.clip_tokens = int(one.max_position_embeddings)
        width = one.hidden_size + two.hidden_size
        if width > t5.width:
            raise UserError(
                f"the embeddings of the two CLIP models have {width} numbers, more than T5's {t5.width}; "
                "fix: download the pipeline again"
            )
        pooled = one.projection_dim + two.projection_dim
        self.layout = ConditionLayout(self.clip_tokens + t5.tokens, t5.width, pooled)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        hidden, pooled = [], []
        for tokenizer, clip in zip(self.tokenizers, self.clips, strict=True):
            tokens = tokenize(tokenizer, prompts, self.clip_tokens).to(self.device)
            output = clip(tokens, output_hidden_states=True)
            hidden.append(output.hidden_states[-2].float())
            pooled.append(output.text_embeds.float())
        side_by_side = torch.cat(hidden, -1)
        padded = functional.pad(side_by_side, (0, self.t5.width - side_by_side.shape[-1]))
        return self.layout.pack(torch.cat([padded, self.t5(prompts)], 1), torch.cat(pooled, -1))

    def null_condition(self) -> Tensor:
        return self.encode([""])


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    clips = tuple(
        load_network(CLIPTextModelWithProjection, folder / part) for part in ("text_encoder", "text_encoder_2")
    )
    tokenizers = read_tokenizer(folder / "tokenizer"), read_tokenizer(folder / "tokenizer_2")
    t5 = read_t5(folder / "tokenizer_3", folder / "text_encoder_3", T5_TOKENS)
    return TextPipeline(
        family,
        family.read_network(folder / family.folder),
        LatentSpace(load_network(AutoencoderKL, folder / "vae")),
        SD3Encoder(tokenizers, (clips[0], clips[1]), t5),
        read_scheduler(folder),
    )
