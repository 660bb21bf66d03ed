"""A detector and a question answerer with random weights, tiny, in the published formats, and their prompts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from bench.data.text.object_names import NAMES

WORDS = ("is", "there", "a", "dog", "cat", "red", "the", "?", "yes", "no")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")


def save_mask2former(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Mask2Former on a Swin of four blocks, with five queries and the labels `names`; it sees dogs everywhere."""
    backbone = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    torch.manual_seed(0)
    network = Mask2FormerForUniversalSegmentation(config)
    network.class_predictor.bias.data[names.index("dog") if "dog" in names else 0] = 8.0
    network.save_pretrained(folder)
    return folder


def save_blip_vqa(folder: Path) -> Path:
    """BLIP-VQA of one layer each, with a vocabulary of a few words, and its processor."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in (*SPECIAL, *WORDS)))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": SPECIAL.index("[DEC]"), "sep_token_id": SPECIAL.index("[SEP]"), "pad_token_id": 0}
    size = len(SPECIAL) + len(WORDS)
    config = BlipConfig(
        text_config={**tower, **ends, "vocab_size": size, "encoder_hidden_size": 16},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
        image_text_hidden_size=8,
    )
    torch.manual_seed(0)
    BlipForQuestionAnswering(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def write_metadata(path: Path) -> Path:
    """GenEval's file with one prompt of each of two tasks."""
    lines = (
        {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a photo of a dog"},
        {
            "tag": "colors",
            "include": [{"class": "car", "count": 1, "color": "red"}],
            "prompt": "a photo of a red car",
        },
    )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def write_questions(path: Path) -> Path:
    """DPG-Bench's table with two prompts: the official script fails on the first."""
    rows = (
        ("a", "a red dog", "1", "0", "entity - whole (dog)", "Is there a dog?"),
        ("a", "a red dog", "2", "1", "attribute - color (dog, red)", "Is the dog red?"),
        ("b", "a cat", "1", "0", "entity - whole (cat)", "Is there a cat?"),
    )
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        columns = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
        table.writerows((columns, *rows))
    return path
