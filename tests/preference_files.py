"""Preference models with random weights, tiny, in the files of the published ones."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from text_pipelines import tiny_tokenizer
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

WORDS = ("a", "red", "cat", "dog", "##s", "two", "on", "the", "mat", "bird", ",", "!")
WIDTH, SEEN_WIDTH, SIDE = 128, 192, 32
"""Of ImageReward's text encoder and vision transformer, with two and three attention heads, and of its images."""


def save_pickscore(folder: Path) -> Path:
    """PickScore's folder: a CLIP of two layers and 32 pixels, and its processor."""
    tokenizer = tiny_tokenizer()
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(tokenizer)},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def save_hps(path: Path) -> Path:
    """HPS's checkpoint, its weights under `state_dict`, of open_clip's tiny-clip, which must be known."""
    torch.manual_seed(1)
    torch.save({"state_dict": open_clip.create_model("tiny-clip").state_dict(), "epoch": 1}, path)
    return path


def save_image_reward(folder: Path) -> Path:
    """ImageReward's folder: two layers of each encoder, and a vocabulary of a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(image_reward_weights(), folder / "ImageReward.pt")
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in (*special, *WORDS)))
    return folder


def image_reward_weights() -> dict[str, Tensor]:
    """Random weights by their published names."""
    draw = torch.Generator().manual_seed(2)
    state: dict[str, Tensor] = {}

    def linear(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(*shape, generator=draw) * shape[1] ** -0.5
        state[f"{name}.bias"] = torch.randn(shape[0], generator=draw) * 0.1

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + torch.randn(width, generator=draw) * 0.2
        state[f"{name}.bias"] = torch.randn(width, generator=draw) * 0.2

    def rows(name: str, *shape: int) -> None:
        state[name] = torch.randn(*shape, generator=draw) * 0.02

    seen, patches = "blip.visual_encoder", (SIDE // 16) ** 2
    rows(f"{seen}.cls_token", 1, 1, SEEN_WIDTH)
    rows(f"{seen}.pos_embed", 1, patches + 1, SEEN_WIDTH)
    linear(f"{seen}.patch_embed.proj", SEEN_WIDTH, 3, 16, 16)
    state[f"{seen}.patch_embed.proj.weight"] *= 0.05
    for block in (f"{seen}.blocks.0", f"{seen}.blocks.1"):
        norm(f"{block}.norm1", SEEN_WIDTH)
        linear(f"{block}.attn.qkv", 3 * SEEN_WIDTH, SEEN_WIDTH)
        linear(f"{block}.attn.proj", SEEN_WIDTH, SEEN_WIDTH)
        norm(f"{block}.norm2", SEEN_WIDTH)
        linear(f"{block}.mlp.fc1", 2 * SEEN_WIDTH, SEEN_WIDTH)
        linear(f"{block}.mlp.fc2", SEEN_WIDTH, 2 * SEEN_WIDTH)
    norm(f"{seen}.norm", SEEN_WIDTH)

    read = "blip.text_encoder"
    state[f"{read}.embeddings.position_ids"] = torch.arange(40)[None]
    rows(f"{read}.embeddings.word_embeddings.weight", len(WORDS) + 7, WIDTH)
    rows(f"{read}.embeddings.position_embeddings.weight", 40, WIDTH)
    norm(f"{read}.embeddings.LayerNorm", WIDTH)
    for layer in (f"{read}.encoder.layer.0", f"{read}.encoder.layer.1"):
        for attention, width in (("attention", WIDTH), ("crossattention", SEEN_WIDTH)):
            linear(f"{layer}.{attention}.self.query", WIDTH, WIDTH)
            linear(f"{layer}.{attention}.self.key", WIDTH, width)
            linear(f"{layer}.{attention}.self.value", WIDTH, width)
            linear(f"{layer}.{attention}.output.dense", WIDTH, WIDTH)
            norm(f"{layer}.{attention}.output.LayerNorm", WIDTH)
        linear(f"{layer}.intermediate.dense", 2 * WIDTH, WIDTH)
        linear(f"{layer}.output.dense", WIDTH, 2 * WIDTH)
        norm(f"{layer}.output.LayerNorm", WIDTH)

    linear("blip.vision_proj", 16, SEEN_WIDTH)
    linear("blip.text_proj", 16, WIDTH)
    widths = (WIDTH, 32, 16, 8, 4, 1)
    for number, across, out in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        linear(f"mlp.layers.{number}", out, across)
    return state
