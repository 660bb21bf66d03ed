"""CLIP scores against open_clip's own transform, tokens and cosines, on a tiny random network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from inception_files import photographs
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.features.networks.clip import CLIPScorer, Tokens, load_clip
from bench.features.preprocess import Squares, square
from bench.features.scoring import CLIP_BIGG14, CLIP_G14_DMD2, CLIPProtocol, clip_protocol

ARCHITECTURE = "tiny-clip"
DMD2 = replace(CLIP_G14_DMD2, architecture=ARCHITECTURE)
PLAIN = replace(CLIP_BIGG14, architecture=ARCHITECTURE)
LONG = " ".join(["elephant"] * 100)


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A network of open_clip's making, 32 pixels and two layers, under a name of its own."""
    path = tmp_path_factory.mktemp("architectures") / f"{ARCHITECTURE}.json"
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
        open_clip.add_model_config(path)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "open_clip_pytorch_model.bin"
    torch.save(open_clip.create_model(ARCHITECTURE).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Wider than high, and larger than any size they are brought to."""
    return photographs(4, 400)[:, :, :330]


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def official_tokens(prompts: list[str]) -> Tensor:
    """The official evaluation's steps: cut the prompts, insert the prefix, cut again, force the end."""
    tokens = open_clip.tokenize(prompts)
    prefix = torch.tensor([[320, 1125, 29340]]).expand(len(prompts), -1)
    tokens = torch.cat([tokens[:, :1], prefix, tokens[:, 1:]], dim=1)[:, :77]
    tokens[tokens[:, -1] > 0, -1] = 49407
    return tokens


# The protocols


def test_the_papers_score_is_of_the_smaller_g() -> None:
    protocol = clip_protocol("clip-g14-dmd2")
    assert (protocol.architecture, protocol.pretrained) == ("ViT-g-14", "laion2b_s12b_b42k")
    with pytest.raises(UserError, match="unknown CLIP protocol 'clip-dmd2'; did you mean 'clip-g14-dmd2'"):
        clip_protocol("clip-dmd2")


@pytest.mark.parametrize("protocol", [CLIP_G14_DMD2, CLIP_BIGG14])
def test_the_published_weights_want_the_preprocessing_of_every_open_clip_network(protocol: CLIPProtocol) -> None:
    published = open_clip.get_pretrained_cfg(protocol.architecture, protocol.pretrained)
    default = open_clip.transform.PreprocessCfg()
    for key in ("mean", "std", "interpolation", "resize_mode"):
        assert published[key] == getattr(default, key)
    assert protocol.source == f"https://huggingface.co/{published['hf_hub']}".rstrip("/")


# Text


@pytest.mark.parametrize(
    "prompt",
    ["", "a cat", "  A Cat,   on   a mat!  ", "naïve café 🙂", "&amp;lt;b&amp;gt;", "a " * 72, LONG],
)
def test_tokens_with_the_prefix_are_the_official_ones(weights: Path, prompt: str) -> None:
    assert torch.equal(load_clip(DMD2, weights).tokenize([prompt]).tokens, official_tokens([prompt]))


def test_tokens_without_prefix_are_open_clips(weights: Path) -> None:
    prompts = ["a cat", LONG, " ".join(["a"] * 75)]
    assert torch.equal(load_clip(PLAIN, weights).tokenize(prompts).tokens, open_clip.tokenize(prompts))


@pytest.mark.parametrize(("words", "dmd2", "plain"), [(72, False, False), (73, True, False), (76, True, True)])
def test_a_prompt_is_truncated_where_it_and_the_prefix_fill_more_than_77_tokens(
    weights: Path, words: int, dmd2: bool, plain: bool
) -> None:
    prompts = [" ".join(["a"] * words), "a cat"]
    assert load_clip(DMD2, weights).tokenize(prompts).truncated == [dmd2, False]
    assert load_clip(PLAIN, weights).tokenize(prompts).truncated == [plain, False]


def test_each_distinct_prompt_is_embedded_once(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load_clip(DMD2, weights, batch_size=2)
    embedded: list[int] = []
    tokenize = scorer.tokenize

    def spy(prompts: Sequence[str]) -> Tokens:
        embedded.append(len(prompts))
        return tokenize(prompts)

    monkeypatch.setattr(scorer, "tokenize", spy)
    rows, truncated = scorer.embed_prompts(["a", "b", "a", LONG])
    assert embedded == [2, 1]
    assert torch.equal(rows[0], rows[2]) and truncated == [False, False, False, True]
    again, truncated = scorer.embed_prompts([LONG, "a"])
    assert embedded == [2, 1]
    assert torch.equal(again, rows[[3, 0]]) and truncated == [True, False]


def test_padding_is_left_out_to_the_same_embeddings(weights: Path) -> None:
    """A batch of prompts of all lengths, and one that is cut to its seven tokens, against `encode_text`."""
    scorer = load_clip(DMD2, weights)
    for prompts in (["", "a cat", "a cat " * 20, LONG], ["a cat"]):
        rows, _ = scorer.embed_prompts(prompts)
        with torch.no_grad():
            expected = scorer.model.encode_text(scorer.tokenize(prompts).tokens, normalize=True)
        torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)


# Images


def seen_by(scorer: CLIPScorer, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The pixels that reach the network."""
    inputs: list[Tensor] = []
    encode = scorer.model.encode_image

    def spy(pixels: Tensor) -> Tensor:
        inputs.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(scorer.model, "encode_image", spy)
    scorer.scores(images, ["a cat"] * len(images))
    return torch.cat(inputs)


def test_images_reach_the_network_as_open_clips_transform_has_them(
    weights: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    expected = torch.stack([transform(pillow(image)) for image in photos])
    assert torch.equal(seen_by(load_clip(PLAIN, weights), photos, monkeypatch), expected)


def test_the_official_score_sees_a_lanczos_square_of_256_pixels(
    weights: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    crops = [pillow(image).crop((35, 0, 365, 330)) for image in photos]
    expected = torch.stack([transform(crop.resize((256, 256), Image.Resampling.LANCZOS)) for crop in crops])
    pixels = seen_by(load_clip(DMD2, weights, batch_size=3), photos, monkeypatch)
    assert torch.equal(pixels, expected)
    assert not torch.equal(pixels, torch.stack([transform(pillow(image)) for image in photos]))


def test_a_square_made_for_another_network_is_shared(weights: Path, photos: Tensor) -> None:
    scorer, prompts = load_clip(DMD2, weights), ["a", "b", "c", "d"]
    squares = Squares(photos)
    shared = scorer.scores_of(squares, prompts)
    assert torch.equal(squares(256), square(photos, 256))
    np.testing.assert_array_equal(scorer.scores(square(photos, 256), prompts).cosines, shared.cosines)


# Scores


@pytest.mark.parametrize("protocol", [DMD2, PLAIN])
def test_scores_equal_the_direct_computation(protocol: CLIPProtocol, weights: Path, photos: Tensor) -> None:
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=str(weights))
    model.eval()
    prompts = ["a cat", "two dogs", LONG, "a cat"]
    tokens = official_tokens(prompts) if protocol.prefix else open_clip.tokenize(prompts)
    images = square(photos, 256) if protocol.pre_resize else photos
    with torch.no_grad():
        features = model.encode_image(torch.stack([transform(pillow(image)) for image in images]))
        expected = F.cosine_similarity(features, model.encode_text(tokens))
    found = load_clip(protocol, weights, batch_size=3).scores(photos, prompts)
    np.testing.assert_allclose(found.cosines, expected.numpy(), atol=1e-6)
    assert found.cosines.dtype == np.float64 and found.truncated.tolist() == [False, False, True, False]


def test_a_callers_autocast_does_not_reach_the_network(weights: Path, photos: Tensor) -> None:
    expected = load_clip(DMD2, weights).scores(photos[:1], ["a cat"]).cosines
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = load_clip(DMD2, weights).scores(photos[:1], ["a cat"]).cosines
    np.testing.assert_array_equal(found, expected)


def test_as_many_prompts_as_images(weights: Path, photos: Tensor) -> None:
    with pytest.raises(ValueError, match="4 images and 1 prompts"):
        load_clip(DMD2, weights).scores(photos, ["a cat"])


# Files


def test_safetensors_and_half_precision_are_read_too(weights: Path, photos: Tensor, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {name: value.half() for name, value in torch.load(weights, weights_only=True).items()}
    state["logit_scale"] = state["logit_scale"][None]
    path = tmp_path / "open_clip_model.safetensors"
    save_file(state, path)
    scorer = load_clip(DMD2, path)
    assert next(scorer.model.parameters()).dtype == torch.float32
    expected = load_clip(DMD2, weights).scores(photos, ["a cat"] * 4).cosines
    np.testing.assert_allclose(scorer.scores(photos, ["a cat"] * 4).cosines, expected, atol=1e-2)
    assert scorer.sha256 == file_sha256(path) != file_sha256(weights)


def test_a_file_that_runs_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "open_clip_pytorch_model.bin"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (marker,)

    torch.save({"logit_scale": Malicious()}, path)
    with pytest.raises(UserError, match="nothing in it was run"):
        load_clip(DMD2, path)
    assert not marker.exists()


def test_another_network_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not ViT-B-32: visual\."):
        load_clip(replace(DMD2, architecture="ViT-B-32"), weights)
    with pytest.raises(UserError, match="unknown architecture of open_clip 'ViT-q-14'; did you mean 'ViT-g-14'"):
        load_clip(replace(DMD2, architecture="ViT-q-14"), weights)
    state = torch.load(weights, weights_only=True)
    torch.save({**state, "text_projection": torch.zeros(3, 3)}, tmp_path / "other.bin")
    with pytest.raises(UserError, match=r"text_projection \(\[3, 3\] for \[32, 24\]\); fix: name a file of such"):
        load_clip(DMD2, tmp_path / "other.bin")
