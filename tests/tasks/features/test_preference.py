"""PickScore against the formula, on a tiny random CLIP of transformers' making."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inception_files import photographs
from text_pipelines import tiny_tokenizer
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from tasks.errors import UserError
from tasks.features.preference import load_pickscore

PROMPTS = ["a cat", "two dogs on a mat", "a " * 100, "a cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folder's files: a network of two layers and 32 pixels, and its processor."""
    path, tokenizer = tmp_path_factory.mktemp("pickscore"), tiny_tokenizer()
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(tokenizer)},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(path)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(path)
    return path


def test_the_score_is_the_scaled_cosine_of_one_image_and_its_prompt(folder: Path) -> None:
    images = photographs(4)
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    expected = []
    for image, prompt in zip(images, PROMPTS, strict=True):
        given = processor(images=image, text=prompt, truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            seen = model.visual_projection(model.vision_model(given["pixel_values"]).pooler_output)
            read = model.text_projection(model.text_model(given["input_ids"]).pooler_output)
            expected.append(float(model.logit_scale.exp() * F.cosine_similarity(seen, read)))
    found = load_pickscore(folder, batch_size=3).scores(images, PROMPTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found[0] != found[3]


def test_as_many_prompts_as_images(folder: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        load_pickscore(folder).scores(photographs(2), ["a cat"])


def test_a_folder_without_the_network_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not in any folder that was named; mend: name a folder"):
        load_pickscore(None)
    with pytest.raises(UserError, match="PickScore's network is not in"):
        load_pickscore(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="is not PickScore's: "):
        load_pickscore(tmp_path)
