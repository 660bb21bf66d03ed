"""PickScore and HPS against the formula, on tiny random networks of transformers' and open_clip's making."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from inception_files import photographs
from preference_files import save_hps, save_pickscore
from tests_support import TEXT_PLUGIN
from torch.nn import functional as F
from transformers import CLIPModel, CLIPProcessor

from bench.core.errors import UserError
from bench.features.networks.preference import load_hps, load_pickscore
from bench.features.networks.preference_loaders import LOADERS, load_preference
from bench.features.preprocess import to_pil
from bench.features.scoring import CLIP_PROTOCOLS, HPS_PROTOCOL, PREFERENCES

PROMPTS = ["a cat", "two dogs on a mat", "a " * 100, "a cat"]


def test_every_preference_model_has_a_loader() -> None:
    assert LOADERS.keys() == PREFERENCES.keys()
    with pytest.raises(UserError, match="unknown preference model 'pick-score'; did you mean 'pickscore'"):
        load_preference("pick-score", Path())
    with pytest.raises(UserError, match="no file or folder nowhere; fix: --weights hps=PATH with HPS_v2"):
        load_preference("hps", Path("nowhere"))


# PickScore


@pytest.fixture(scope="module")
def pickscore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pickscore(tmp_path_factory.mktemp("pickscore"))


def test_pickscore_is_the_scaled_cosine_of_one_image_and_its_prompt(pickscore: Path) -> None:
    images = photographs(4)
    model, processor = CLIPModel.from_pretrained(pickscore).eval(), CLIPProcessor.from_pretrained(pickscore)
    expected = []
    for image, prompt in zip(images, PROMPTS, strict=True):
        given = processor(images=image, text=prompt, truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            features = model.visual_projection(model.vision_model(given["pixel_values"]).pooler_output)
            read = model.text_projection(model.text_model(given["input_ids"]).pooler_output)
            expected.append(float(model.logit_scale.exp() * F.cosine_similarity(features, read)))
    found = load_pickscore(pickscore, batch_size=3).scores(images, PROMPTS)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.values[0] != found.values[3]
    assert found.truncated.tolist() == [False, False, True, False]


def test_as_many_prompts_as_images(pickscore: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        load_pickscore(pickscore).scores(photographs(2), ["a cat"])


def test_the_hash_is_of_what_is_read(pickscore: Path, tmp_path: Path) -> None:
    model = load_pickscore(save_pickscore(tmp_path))
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "time").write_text("now")
    assert load_pickscore(tmp_path).sha256 == model.sha256 == load_pickscore(pickscore).sha256
    with (tmp_path / "config.json").open("a") as file:
        file.write("\n")
    assert load_pickscore(tmp_path).sha256 != model.sha256


def test_a_folder_without_pickscores_network_is_refused(pickscore: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not PickScore's folder: it has no config.json; fix: name a folder"):
        load_pickscore(tmp_path)
    (tmp_path / "config.json").write_bytes((pickscore / "config.json").read_bytes())
    with pytest.raises(UserError, match="is not PickScore's: "):
        load_pickscore(tmp_path)


# HPS


@pytest.fixture(scope="module")
def hps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint whose network is tiny."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
        open_clip.add_model_config(TEXT_PLUGIN.with_name("tiny-clip.json"))
        patch.setitem(CLIP_PROTOCOLS, HPS_PROTOCOL.name, replace(HPS_PROTOCOL, architecture="tiny-clip"))
        yield save_hps(tmp_path_factory.mktemp("hps") / "HPS_v2.1_compressed.pt")


def test_hps_is_a_hundred_times_the_cosine_of_open_clips_embeddings(hps: Path) -> None:
    """An image is resized as floats, neither rounded nor clipped, as in the authors' package."""
    images = photographs(4)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    model.load_state_dict(torch.load(hps, weights_only=True)["state_dict"])
    model.eval()
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    resized = F.interpolate(images / 255, (32, 32), mode="bicubic", antialias=True)
    pixels = (resized - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    by_pillow = torch.stack([transform(to_pil(image)) for image in images])
    with torch.no_grad():
        read = model.encode_text(open_clip.tokenize(PROMPTS))
        expected, other = (100 * F.cosine_similarity(model.encode_image(x), read) for x in (pixels, by_pillow))
    found = load_hps(hps, batch_size=3).scores(images, PROMPTS)
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=0, atol=2e-4)
    assert np.abs(found.values - other.numpy()).max() > 2e-3
    assert found.values.dtype == np.float64 and found.truncated.tolist() == [False, False, True, False]


def test_hps_is_for_square_images(hps: Path) -> None:
    with pytest.raises(UserError, match=r"HPS is for square images, got \[64, 40\]; fix: leave it out"):
        load_hps(hps).scores(photographs(1)[..., :40], ["a cat"])


def test_another_checkpoint_is_not_hps(hps: Path, tmp_path: Path) -> None:
    state = torch.load(hps, weights_only=True)["state_dict"]
    del state["text_projection"]
    torch.save({"state_dict": state}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt is not tiny-clip: text_projection \(missing\); fix: name"):
        load_hps(tmp_path / "other.pt")
