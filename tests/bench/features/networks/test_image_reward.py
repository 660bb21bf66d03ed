"""ImageReward against its published description, written down once more, on tiny random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_files import photographs
from PIL import Image
from preference_files import SIDE, image_reward_weights, save_image_reward
from torch import Tensor
from torch.nn import functional as F
from transformers import BertTokenizer

from bench.core.errors import UserError
from bench.features.networks.image_reward import load_image_reward
from bench.features.preprocess import to_pil

PROMPTS = ["a red cat", "Two DOGS, on the mat!", "a " * 60, "", "a red cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_image_reward(tmp_path_factory.mktemp("image-reward"))


class Described:
    """BLIP's two encoders and the head, from the papers, by the names of the published file."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps)

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 64)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        mixed = F.scaled_dot_product_attention(self.heads(q), self.heads(k), self.heads(v), mask)
        return mixed.transpose(1, 2).flatten(2)

    def see(self, pixels: Tensor) -> Tensor:
        """A pre-norm vision transformer on patches of 16 pixels: all tokens, the class's first."""
        top = "blip.visual_encoder"
        proj = f"{top}.patch_embed.proj"
        patches = F.conv2d(pixels, self.state[f"{proj}.weight"], self.state[f"{proj}.bias"], stride=16)
        first = self.state[f"{top}.cls_token"].expand(len(pixels), -1, -1)
        x = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + self.state[f"{top}.pos_embed"]
        for block in (f"{top}.blocks.0", f"{top}.blocks.1"):
            qkv = self.linear(f"{block}.attn.qkv", self.norm(f"{block}.norm1", x, 1e-6))
            x = x + self.linear(f"{block}.attn.proj", self.attend(*qkv.chunk(3, dim=-1)))
            inner = F.gelu(self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", x, 1e-6)))
            x = x + self.linear(f"{block}.mlp.fc2", inner)
        return self.norm(f"{top}.norm", x, 1e-6)

    def read(self, tokens: Tensor, is_word: Tensor, features: Tensor) -> Tensor:
        """Run a post-norm BERT, whose layers attend to the image after self-attention."""
        top, eps = "blip.text_encoder", 1e-12
        x = self.state[f"{top}.embeddings.word_embeddings.weight"][tokens]
        x = x + self.state[f"{top}.embeddings.position_embeddings.weight"][: tokens.shape[1]]
        x = self.norm(f"{top}.embeddings.LayerNorm", x, eps)
        for layer in (f"{top}.encoder.layer.0", f"{top}.encoder.layer.1"):
            for part, source, mask in (
                ("attention", None, is_word[:, None, None, :].bool()),
                ("crossattention", features, None),
            ):
                name, other = f"{layer}.{part}", x if source is None else source
                q = self.linear(f"{name}.self.query", x)
                k, v = self.linear(f"{name}.self.key", other), self.linear(f"{name}.self.value", other)
                out = self.linear(f"{name}.output.dense", self.attend(q, k, v, mask))
                x = self.norm(f"{name}.output.LayerNorm", x + out, eps)
            inner = F.gelu(self.linear(f"{layer}.intermediate.dense", x))
            x = self.norm(f"{layer}.output.LayerNorm", x + self.linear(f"{layer}.output.dense", inner), eps)
        return x

    def reward(self, pixels: Tensor, tokens: Tensor, is_word: Tensor) -> Tensor:
        x = self.read(tokens, is_word, self.see(pixels))[:, 0]
        for number in (0, 2, 4, 6, 7):
            x = self.linear(f"mlp.layers.{number}", x)
        return (x[:, 0] - 0.16717362830052426) / 1.0333394966054072


def as_pixels(image: Image.Image) -> Tensor:
    """Return CLIP's preprocessing of a square image."""
    levels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return torch.from_numpy((levels - mean) / std).permute(2, 0, 1).float()


def test_the_score_is_the_described_networks(folder: Path) -> None:
    images = photographs(5)
    tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    read = tokenizer(PROMPTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    pixels = torch.stack([as_pixels(to_pil(image)) for image in images])
    expected = Described(image_reward_weights()).reward(pixels, read.input_ids, read.attention_mask)
    found = load_image_reward(folder, batch_size=2).scores(images, PROMPTS)
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=2e-5, atol=2e-5)
    assert found.values.dtype == np.float32 and found.values.std() > 0.01
    assert found.truncated.tolist() == [False, False, True, False, False]


def test_files_of_something_else_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no ImageReward.pt and no vocab.txt; fix: name a folder"):
        load_image_reward(tmp_path)
    (tmp_path / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes())
    for state, message in (
        ({"blip.conv.weight": torch.ones(1)}, "is not ImageReward .*embeddings.patch_embedding.weight"),
        (without("mlp.layers.7.weight"), "is not ImageReward .*7.weight"),
        (
            without("blip.text_encoder.encoder.layer.1.output.dense.bias"),
            r"is not ImageReward: encoder.layer.1.output.dense.bias \(missing\); fix: name",
        ),
        (
            {**image_reward_weights(), "conv.weight": torch.ones(1)},
            r"is not ImageReward: conv.weight \(unexpected\)",
        ),
        (
            without("blip.visual_encoder.norm.bias"),
            r"is not ImageReward: post_layernorm.bias \(missing\); fix: name",
        ),
    ):
        torch.save(state, tmp_path / "ImageReward.pt")
        with pytest.raises(UserError, match=message):
            load_image_reward(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\ncat\n")
    torch.save(image_reward_weights(), tmp_path / "ImageReward.pt")
    with pytest.raises(UserError, match="is not BERT's"):
        load_image_reward(tmp_path)


def without(name: str) -> dict[str, Tensor]:
    state = image_reward_weights()
    del state[name]
    return state
