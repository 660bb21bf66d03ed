"""CLIP scores: how well an image fits its prompt, as the cosine of two embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import init_empty_weights
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import unknown
from bench.core.extras import optional_module
from bench.core.files import file_sha256
from bench.features.precision import frozen_network
from bench.features.preprocess import Squares, to_pil
from bench.features.scoring import CLIPProtocol
from bench.features.weights import FoundWeights
from bench.models.weights.compare import without_prefixes
from bench.models.weights.state_dicts import fill, read_state_dict


class CLIPScores(NamedTuple):
    """The scores of a batch of images."""

    cosines: np.ndarray
    """[B] float64, of the network's float32 embeddings."""
    truncated: np.ndarray
    """[B] bool: the network read only the beginning of the prompt."""


class Tokens(NamedTuple):
    """Tokenized prompts of a CLIP network."""

    tokens: Tensor
    """[B, context] int64."""
    truncated: list[bool]


class CLIPScorer:
    """A CLIP network that scores images against their prompts; each distinct prompt is embedded once."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocess: Callable[[Image], Tensor],
        protocol: CLIPProtocol,
        weights: FoundWeights,
        batch_size: int,
    ) -> None:
        """Take open_clip's parts; the `model` is in evaluation mode on its device."""
        self.model = model
        self.protocol = protocol
        self.path = weights.path
        self.sha256 = weights.sha256
        self.batch_size = batch_size
        self.device: torch.device = next(model.parameters()).device
        self.preprocess = preprocess
        size = model.visual.image_size
        self.side: int = size if isinstance(size, int) else size[0]
        self._tokenizer = tokenizer
        self._prefix = tokenizer.encode(protocol.prefix)
        self._embedded: dict[str, tuple[Tensor, bool]] = {}

    def scores(self, images: Tensor, prompts: Sequence[str]) -> CLIPScores:
        """Score uint8 images [B, 3, H, W] against B prompts."""
        return self.scores_of(Squares(images), prompts)

    def scores_of(self, squares: Squares, prompts: Sequence[str]) -> CLIPScores:
        """Score a batch, whose crops other networks share, against one prompt for each image."""
        if len(squares.images) != len(prompts):
            raise ValueError(f"{len(squares.images)} images and {len(prompts)} prompts")
        features = self.embed_images(squares(self.protocol.pre_resize))
        read, truncated = self.embed_prompts(prompts)
        return CLIPScores((features.double() * read.double()).sum(dim=1).numpy(), np.array(truncated, dtype=bool))

    def embed_images(self, images: Tensor) -> Tensor:
        """Return unit embeddings, on the CPU, of uint8 [B, 3, H, W] that is cropped as the protocol says."""
        parts = []
        for part in images.split(self.batch_size):
            pixels = torch.stack([self.preprocess(to_pil(image)) for image in part.cpu()])
            with frozen_network(self.device):
                parts.append(F.normalize(self.model.encode_image(pixels.to(self.device)), dim=-1).cpu())
        return torch.cat(parts)

    def embed_prompts(self, prompts: Sequence[str]) -> tuple[Tensor, list[bool]]:
        """Return unit embeddings of B prompts, on the CPU, and which of the prompts were truncated."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._embedded]
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            tokens, truncated = self.tokenize(part)
            with frozen_network(self.device):
                rows = F.normalize(self._read(tokens.to(self.device)), dim=-1).cpu()
            self._embedded.update(zip(part, zip(rows, truncated, strict=True), strict=True))
        found = [self._embedded[prompt] for prompt in prompts]
        return torch.stack([row for row, _ in found]), [truncated for _, truncated in found]

    def _read(self, tokens: Tensor) -> Tensor:
        """Return open_clip's `encode_text` of tokens [B, context], without running on their padding.

        Attention is causal and the embedding is that of the end token, so that the padding after it has no
        effect; a caption fills 15 of 77 tokens.
        """
        model, end = self.model, tokens.argmax(dim=1)
        length = int(end.max()) + 1
        x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        rows: Tensor = x[torch.arange(len(x), device=x.device), end] @ model.text_projection
        return rows

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Return start, prefix, prompt and end tokens, padded with 0; a long prompt is cut before its end.

        The official evaluation inserts the prefix into the cut prompt and cuts again, to the same tokens.
        """
        tokenizer, context = self._tokenizer, self._tokenizer.context_length
        tokens, truncated = torch.zeros(len(prompts), context, dtype=torch.long), []
        for row, prompt in zip(tokens, prompts, strict=True):
            read = [tokenizer.sot_token_id, *self._prefix, *tokenizer.encode(prompt)]
            truncated.append(len(read) >= context)
            read = [*read[: context - 1], tokenizer.eot_token_id]
            row[: len(read)] = torch.tensor(read)
        return Tokens(tokens, truncated)


def load_clip(
    protocol: CLIPProtocol, weights: Path, *, device: torch.device | str = "cpu", batch_size: int = 32
) -> CLIPScorer:
    """Read a network from its published file (torch or safetensors); only tensors are read.

    The publishers give no hash, and the same weights come in several files: the scorer records the hash of this
    file. Raises UserError if there is no file, it is damaged, or it contains another network.
    """
    open_clip = optional_module("open_clip", "a CLIP score", "text")
    config = open_clip.get_model_config(protocol.architecture)
    if config is None:
        raise unknown("architecture of open_clip", protocol.architecture, open_clip.list_models())
    with init_empty_weights():  # random weights would only be overwritten
        model = open_clip.CLIP(**config)
    state = without_prefixes(read_state_dict(weights), model.state_dict().__contains__)
    temperature = state.get("logit_scale")
    if (
        temperature is not None and temperature.numel() == 1
    ):  # some files store it, which no cosine reads, as a row
        state["logit_scale"] = temperature.reshape(())
    fill(model, state, str(weights), protocol.architecture)
    model.eval().requires_grad_(False).to(device)
    return CLIPScorer(
        model,
        open_clip.get_tokenizer(protocol.architecture),
        _transform(open_clip, model.visual.image_size, protocol),
        protocol,
        FoundWeights(weights, file_sha256(weights)),
        batch_size,
    )


def _transform(open_clip: Any, side: int | tuple[int, int], protocol: CLIPProtocol) -> Callable[[Image], Tensor]:
    """Return the transform that turns an image into the network's input."""
    if protocol.resized_as == "bytes":
        transform: Callable[[Image], Tensor] = open_clip.image_transform(side, is_train=False)
        return transform
    transforms = optional_module("torchvision.transforms", "a CLIP score", "text")
    resize = transforms.Resize(side, transforms.InterpolationMode.BICUBIC, antialias=True)
    normalise = transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return transforms.Compose([transforms.ToTensor(), resize, normalise])
