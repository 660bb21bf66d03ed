"""Every built-in extractor refuses weights that lack a tensor, or have another or a misshapen one, by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import open_clip
import pytest
import torch
import torchvision
from inception_files import random_inception
from preference_files import save_hps, save_image_reward, save_pickscore
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from bench.core.errors import UserError
from bench.features.base import FeatureExtractor
from bench.features.networks import preference
from bench.features.published import CLIP, DINOV2, HPS, IMAGE_REWARD, INCEPTION, LPIPS, PICKSCORE
from bench.features.scoring import CLIP_G14_DMD2, HPS_PROTOCOL
from bench.models.weights.state_dicts import read_state_dict

TINY_CLIP = Path(__file__).parents[2] / "plugins" / "tiny-clip.json"


class Case(NamedTuple):
    """An extractor, the file of its tiny weights in their folder, and a tensor in it."""

    extractor: FeatureExtractor
    file: str
    tensor: str
    named: str = ""
    """What the message calls the tensor, if the network calls it otherwise than the file."""


CASES = {
    "inception": Case(INCEPTION, "inception.pth", "Mixed_6c.branch1x1.bn.weight"),
    "dinov2": Case(DINOV2, "model.safetensors", "layernorm.weight"),
    "clip": Case(
        replace(CLIP, protocol=replace(CLIP_G14_DMD2, architecture="tiny-clip")), "clip.bin", "text_projection"
    ),
    "lpips": Case(LPIPS, "vgg.pth", "features.2.weight"),
    "hps": Case(HPS, "hps.pt", "text_projection"),
    "pickscore": Case(PICKSCORE, "model.safetensors", "text_model.final_layer_norm.weight"),
    "image-reward": Case(IMAGE_REWARD, "ImageReward.pt", "blip.visual_encoder.norm.bias", "post_layernorm.bias"),
}


def save_dinov2(folder: Path) -> None:
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)


def save_vgg(folder: Path) -> None:
    with torch.device("meta"):
        expected = torchvision.models.vgg16().features.state_dict()
    torch.save(
        {f"features.{name}": torch.zeros(value.shape) for name, value in expected.items()}, folder / "vgg.pth"
    )


WRITERS: dict[str, Callable[[Path], object]] = {
    "inception": lambda folder: torch.save(random_inception(16), folder / "inception.pth"),
    "dinov2": save_dinov2,
    "clip": lambda folder: torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "clip.bin"),
    "lpips": save_vgg,
    "hps": lambda folder: save_hps(folder / "hps.pt"),
    "pickscore": save_pickscore,
    "image-reward": save_image_reward,
}


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
        open_clip.add_model_config(TINY_CLIP)
        patch.setattr(preference, "clip_protocol", lambda _: replace(HPS_PROTOCOL, architecture="tiny-clip"))
        yield


def rewritten(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change a file's tensors where it lies."""
    state = read_state_dict(path)
    change(state)
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"format": "pt"})
    else:
        torch.save(state, path)


@pytest.mark.parametrize("name", CASES)
def test_weights_with_another_set_of_tensors_are_refused_by_name(name: str, tmp_path: Path) -> None:
    extractor, file, tensor, named = CASES[name]
    WRITERS[name](tmp_path)
    path = tmp_path / file
    whole = path.read_bytes()
    given = {extractor.weights[0].name: tmp_path if name in ("dinov2", "pickscore", "image-reward") else path}
    assert extractor.load(given, "cpu"), "as they are, they load"
    named = re.escape(named or tensor)
    faults: list[tuple[Callable[[dict[str, Tensor]], object], str]] = [
        (lambda state: state.pop(tensor), rf"{named} \(missing\)"),
        (lambda state: state.update(extra_head=torch.zeros(3)), r"extra_head \(unexpected\)"),
        (lambda state: state.update({tensor: torch.zeros(5, 5)}), rf"{named} \((misshapen|\[5, 5\] for .*)\)"),
    ]
    for change, reason in faults:
        path.write_bytes(whole)
        rewritten(path, change)
        with pytest.raises(UserError, match=reason):
            extractor.load(given, "cpu")


def test_the_helper_writes_what_it_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    rewritten(tmp_path / "one.safetensors", lambda state: state.update(b=torch.zeros(1)))
    assert load_file(tmp_path / "one.safetensors").keys() == {"a", "b"}
