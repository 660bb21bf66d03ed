"""CLIP's image embeddings for CMMD against open_clip's and transformers' own network, on tiny random weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from inception_files import photographs
from PIL import Image
from tiny_clip import LAYERS, SIDE, WIDTH, tiny_openai_clip
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from bench.features.batch import ImageBatch
from bench.features.published_images import CLIP_IMAGES
from bench.features.scoring import CLIP_L14, CLIP_L14_336, CLIPProtocol

ARCHITECTURE = "tiny-clip-quickgelu"
TINY = replace(CLIP_IMAGES, protocol=replace(CLIP_L14_336, architecture=ARCHITECTURE))
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with tiny_openai_clip(ARCHITECTURE, 24, tmp_path_factory.mktemp("architectures")):
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "open_clip_pytorch_model.bin"
    torch.save(open_clip.create_model(ARCHITECTURE).state_dict(), path)
    return path


def as_the_authors(image: Tensor) -> Tensor:
    """The largest square of the middle, Pillow's bicubic to bytes, then CLIP's mean and deviation."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    small = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def transformers_network(state: dict[str, Tensor]) -> CLIPVisionModelWithProjection:
    """OpenAI's network as transformers writes it, with open_clip's weights under its names."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=1,
        image_size=SIDE,
        patch_size=16,
        projection_dim=24,
        hidden_act="quick_gelu",
    )
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    names |= {"attn.out_proj": "self_attn.out_proj"}
    own = {
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T,
    }
    for part in ("weight", "bias"):
        own[f"vision_model.pre_layrnorm.{part}"] = state[f"visual.ln_pre.{part}"]
        own[f"vision_model.post_layernorm.{part}"] = state[f"visual.ln_post.{part}"]
        for layer in range(LAYERS):
            theirs, ours = f"visual.transformer.resblocks.{layer}", f"vision_model.encoder.layers.{layer}"
            for old, new in names.items():
                own[f"{ours}.{new}.{part}"] = state[f"{theirs}.{old}.{part}"]
            thirds = state[f"{theirs}.attn.in_proj_{part}"].chunk(3)
            for name, third in zip("qkv", thirds, strict=True):
                own[f"{ours}.self_attn.{name}_proj.{part}"] = third
    network = CLIPVisionModelWithProjection(config).eval()
    missing, unexpected = network.load_state_dict(own, strict=False)
    assert [name for name in missing if not name.endswith("position_ids")] == unexpected == []
    return network


@pytest.mark.parametrize("shape", [(50, 50), (70, 44), (44, 70)])
def test_embeddings_are_transformers_and_open_clips(weights: Path, shape: tuple[int, int]) -> None:
    images = photographs(3, 70)[:, :, : shape[0], : shape[1]]
    found = TINY.load({"clip-l14-336": weights}, "cpu")(ImageBatch(images)).features
    pixels, state = (
        torch.stack([as_the_authors(image) for image in images]),
        torch.load(weights, weights_only=True),
    )
    theirs = open_clip.create_model(ARCHITECTURE, pretrained=str(weights)).eval()
    with torch.no_grad():
        by_open_clip = theirs.encode_image(pixels, normalize=True)
        by_transformers = F.normalize(transformers_network(state)(pixels).image_embeds, dim=-1)
    np.testing.assert_allclose(found, by_open_clip.numpy(), atol=1e-6)
    np.testing.assert_allclose(found, by_transformers.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_real_images_of_many_sizes_go_the_same_way_from_full_resolution(weights: Path) -> None:
    extract = TINY.load({"clip-l14-336": weights}, "cpu")
    originals = [photographs(1, 90)[:, :, :60], photographs(1, 40)]
    cropped = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    found = extract(ImageBatch(cropped, originals=originals)).features
    expected = np.concatenate([extract(ImageBatch(one)).features for one in originals])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("protocol", "side"), [(CLIP_L14_336, 336), (CLIP_L14, 224)])
def test_the_published_networks_are_openais(protocol: CLIPProtocol, side: int) -> None:
    """Their activation is quickgelu; with open_clip's default one the same file gives other embeddings."""
    config = open_clip.get_model_config(protocol.architecture)
    assert config["quick_gelu"] and config["vision_cfg"]["image_size"] == side
    published = open_clip.get_pretrained_cfg(protocol.architecture, protocol.pretrained)
    assert protocol.source == f"https://huggingface.co/{published['hf_hub']}".rstrip("/")
    assert (tuple(published["mean"]), tuple(published["std"])) == (MEAN, STD)
