"""ImageReward: a BLIP network that reads an image with its prompt and predicts how people would rate it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from PIL.Image import Image
from torch import Tensor, nn

from bench.core.errors import UserError, first_line
from bench.core.extras import optional_module
from bench.core.files import folder_sha256
from bench.features.networks.preference import PreferenceModel, PreferenceScores
from bench.features.precision import frozen_network
from bench.features.preprocess import to_pil
from bench.features.scoring import PREFERENCES
from bench.models.weights.compare import problems, without_prefixes
from bench.models.weights.folders import is_count
from bench.models.weights.state_dicts import fill, read_state_dict

WEIGHTS, VOCABULARY = "ImageReward.pt", "vocab.txt"
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""A score is the head's output minus MEAN, divided by STD."""
TOKENS = 35
"""Number of tokens that are read of a prompt, with its start and its end."""
VISION, TEXT, HEAD = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
"""Prefixes of the names of tensors; all other tensors were used only in BLIP's training."""
KNOWN = ("blip.", HEAD)
HEAD_LAYERS = (0, 2, 4, 6, 7)
"""Numbers of the linear layers; those between are dropout, which has no effect here."""
ATTENTION_WIDTH = 64
"""Width of every attention head of BLIP, for text and for images."""
VISION_NAMES = {
    ".cls_token": ".embeddings.class_embedding",
    ".pos_embed": ".embeddings.position_embedding",
    ".patch_embed.proj.": ".embeddings.patch_embedding.",
    ".norm.": ".post_layernorm.",
    ".blocks.": ".encoder.layers.",
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attn.qkv.": ".self_attn.qkv.",
    ".attn.proj.": ".self_attn.projection.",
}
"""Parts of names in BLIP's vision transformer, and in transformers'; the text encoder's names are equal."""


class ImageReward(PreferenceModel):
    """BLIP-large with cross-attention to the image; linear layers turn the first token's state into a score.

    Preprocessing (CLIP's), the 35 tokens, and the mean and deviation that normalise a score are those of the
    authors' package. Source: Xu et al. 2023, arXiv:2304.05977.
    """

    def __init__(
        self,
        vision: nn.Module,
        text: nn.Module,
        head: nn.Module,
        tokenizer: Any,
        preprocess: Callable[[Image], Tensor],
        path: Path,
        sha256: str,
        batch_size: int,
    ) -> None:
        """Take transformers' BlipVisionModel `vision` and BlipTextModel `text`, in evaluation mode."""
        super().__init__(path, sha256, batch_size)
        self.vision, self.text, self.head = vision, text, head
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.device: torch.device = next(head.parameters()).device

    def batch_scores(self, images: Tensor, prompts: list[str]) -> PreferenceScores:
        pixels = torch.stack([self.preprocess(to_pil(image)) for image in images]).to(self.device)
        read = self.tokenizer.encode_batch(prompts)
        tokens = torch.tensor([one.ids for one in read], device=self.device)
        mask = torch.tensor([one.attention_mask for one in read], device=self.device)
        with frozen_network(self.device):
            features = self.vision(pixel_values=pixels).last_hidden_state
            states = self.text(tokens, attention_mask=mask, encoder_hidden_states=features).last_hidden_state
            rewards = (self.head(states[:, 0])[:, 0] - MEAN) / STD
        return PreferenceScores(rewards.cpu().numpy(), np.array([bool(one.overflowing) for one in read]))


def load_image_reward(path: Path, *, device: torch.device | str = "cpu", batch_size: int = 16) -> ImageReward:
    """Read a folder with ImageReward.pt (only its tensors) and bert-base-uncased's vocab.txt.

    Every size is inferred from the weights. Raises UserError if a file is missing, damaged or another network's.
    """
    fix = f"fix: name {PREFERENCES['image-reward'].files} ({PREFERENCES['image-reward'].source})"
    if missing := [name for name in (WEIGHTS, VOCABULARY) if not (path / name).is_file()]:
        raise UserError(f"{path} has no {' and no '.join(missing)}; {fix}")
    transformers = optional_module("transformers", "ImageReward", "text")
    open_clip = optional_module("open_clip", "ImageReward", "text")
    state = without_prefixes(read_state_dict(path / WEIGHTS), lambda name: name.startswith(KNOWN))
    if other := problems((), [name for name in state if not name.startswith(KNOWN)]):
        raise UserError(f"{path / WEIGHTS} is not ImageReward: {other}; {fix}")
    parts = {prefix: under(state, prefix) for prefix in (VISION, TEXT, HEAD)}
    parts[VISION] = {vision_name(name): value for name, value in parts[VISION].items()}
    positions = parts[TEXT].pop("embeddings.position_ids", None)  # older files contain them
    if positions is not None and not is_count(positions):
        raise UserError(f"{path / WEIGHTS} is not ImageReward: {TEXT}embeddings.position_ids do not count; {fix}")
    try:
        with init_empty_weights():  # random weights would only be overwritten
            vision = transformers.BlipVisionModel(vision_config(transformers, parts[VISION]))
            text = transformers.BlipTextModel(text_config(transformers, parts[TEXT]), add_pooling_layer=False)
            head = linear_layers(parts[HEAD])
    except (LookupError, ArithmeticError, ValueError) as error:  # missing tensors, or impossible sizes
        raise UserError(f"{path / WEIGHTS} is not ImageReward ({first_line(error)}); {fix}") from None
    for network, part in ((vision, VISION), (text, TEXT), (head, HEAD)):
        fill(network, parts[part], str(path / WEIGHTS), "ImageReward")
        network.eval().requires_grad_(False).to(device)
    tokenizers = optional_module("tokenizers", "ImageReward", "text")
    try:
        tokenizer = tokenizers.BertWordPieceTokenizer(str(path / VOCABULARY), lowercase=True)
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{path / VOCABULARY} is not BERT's: {first_line(error)}; {fix}") from None
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    preprocess = open_clip.image_transform(vision.config.image_size, is_train=False)
    sha256 = folder_sha256(path, (WEIGHTS, VOCABULARY))
    return ImageReward(vision, text, head, tokenizer, preprocess, path, sha256, batch_size)


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def vision_name(name: str) -> str:
    """Return transformers' name of the tensor that BLIP's vision transformer calls `name`."""
    name = f".{name}"
    for theirs, ours in VISION_NAMES.items():
        name = name.replace(theirs, ours)
    return name[1:]


def vision_config(transformers: Any, part: Mapping[str, Tensor]) -> Any:
    """Return transformers' configuration of the vision transformer with these weights."""
    width, _, _, patch = part["embeddings.patch_embedding.weight"].shape
    return transformers.BlipVisionConfig(
        hidden_size=width,
        intermediate_size=len(part["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=layers(part),
        num_attention_heads=width // ATTENTION_WIDTH,
        image_size=patch * math.isqrt(part["embeddings.position_embedding"].shape[1] - 1),
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )


def text_config(transformers: Any, part: Mapping[str, Tensor]) -> Any:
    """Return transformers' configuration of the text encoder; `is_decoder` gives it the attention to the image."""
    words, width = part["embeddings.word_embeddings.weight"].shape
    return transformers.BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=part["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(part["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=layers(part),
        num_attention_heads=width // ATTENTION_WIDTH,
        max_position_embeddings=len(part["embeddings.position_embeddings.weight"]),
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        is_decoder=True,
    )


def layers(part: Mapping[str, Tensor]) -> int:
    """Return the number of layers of an encoder whose tensors are called encoder.layer[s].NUMBER."""
    return len({name.split(".")[2] for name in part if name.startswith("encoder.layer")})


def linear_layers(part: Mapping[str, Tensor]) -> nn.Sequential:
    """Return the linear layers after BLIP, from its width to one number."""
    shapes = {str(number): part[f"{number}.weight"].shape for number in HEAD_LAYERS}
    return nn.Sequential(OrderedDict({number: nn.Linear(shape[1], shape[0]) for number, shape in shapes.items()}))
