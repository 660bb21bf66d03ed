"""A detector and a question answerer with random weights, tiny, in the published formats, and their prompts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    PreTrainedTokenizerFast,
    SwinConfig,
    T5Config,
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


def save_instruct_blip(folder: Path) -> Path:
    """InstructBLIP on a T5 of one layer, whose tokens are words, and its processor."""
    folder.mkdir(parents=True, exist_ok=True)
    words = (
        "<pad>",
        "</s>",
        "<unk>",
        "<image>",
        "Does",
        "this",
        "figure",
        "show",
        "yes",
        "a",
        "dog",
        "cat",
        "red",
    )
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    ends = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, **ends)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in (*SPECIAL, *WORDS)))
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    queries = {"encoder_hidden_size": 16, "cross_attention_frequency": 1, "vocab_size": len(SPECIAL) + len(WORDS)}
    text = T5Config(
        vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**tower, image_size=32, patch_size=16).to_dict(),
        qformer_config=InstructBlipQFormerConfig(**tower, **queries).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=3,
        image_token_index=3,
    )
    torch.manual_seed(0)
    InstructBlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    questions = BertTokenizer(str(folder / "vocab.txt"))
    InstructBlipProcessor(images, tokenizer, questions, num_query_tokens=3).save_pretrained(folder)
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
