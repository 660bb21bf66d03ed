"""LoRAs in every form that they are published in: each is the same change of the UNet."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from single_file import unet_name
from text_pipelines import normal, tiny_unet
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.text.lora import merge_lora
from bench.models.text.lora_files import is_lora, names_of, part_of
from bench.models.text.published import load_published

RANK = 4
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "proj_in", "downsamplers.0.conv", "upsamplers.0.conv"]


@pytest.fixture(scope="module")
def teacher() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return tiny_unet(sdxl=True)


@pytest.fixture(scope="module")
def adapters(teacher: UNet2DConditionModel) -> dict[str, Tensor]:
    """peft's own names, `<layer>.lora_A.weight`."""
    unet = copy.deepcopy(teacher)
    unet.add_adapter(LoraConfig(r=RANK, target_modules=TARGETS))
    state = get_peft_model_state_dict(unet)
    return {name: normal(seed, *value.shape) / 4 for seed, (name, value) in enumerate(state.items())}


def merged(teacher: UNet2DConditionModel, adapters: dict[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """W + scale * up @ down, written out."""
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    for name, down in adapters.items():
        if name.endswith(".lora_A.weight"):
            up, layer = adapters[name.replace("_A.", "_B.")], name.removesuffix(".lora_A.weight")
            change = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1))
            state[f"{layer}.weight"] += scale * change.reshape(state[f"{layer}.weight"].shape)
    return state


def equal(found: UNet2DConditionModel, expected: dict[str, Tensor]) -> None:
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def layers(adapters: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """down and up by layer."""
    ends = {name.removesuffix(".lora_A.weight") for name in adapters if ".lora_A." in name}
    return {layer: (adapters[f"{layer}.lora_A.weight"], adapters[f"{layer}.lora_B.weight"]) for layer in ends}


def original(layer: str) -> str:
    return (
        unet_name(f"{layer}.weight", 1)
        .removesuffix(".weight")
        .replace(".UP.", ".2." if "up_blocks.0" in layer else ".1.")
    )


FORMS = {
    "diffusers": ("unet.{0}.lora_A.weight", "unet.{0}.lora_B.weight"),
    "peft": ("base_model.model.{0}.lora_A.weight", "base_model.model.{0}.lora_B.weight"),
    "peft, named adapter": ("{0}.lora_A.default.weight", "{0}.lora_B.default.weight"),
    "plain": ("{0}.lora_A.weight", "{0}.lora_B.weight"),
    "diffusers, older": ("unet.{0}.lora.down.weight", "unet.{0}.lora.up.weight"),
    "diffusers, lora_linear_layer": (
        "unet.{0}.lora_linear_layer.down.weight",
        "unet.{0}.lora_linear_layer.up.weight",
    ),
    "kohya": ("lora_unet_{1}.lora_down.weight", "lora_unet_{1}.lora_up.weight"),
    "kohya, original names": ("lora_unet_{3}.lora_down.weight", "lora_unet_{3}.lora_up.weight"),
    "original names": ("diffusion_model.{2}.lora_A.weight", "diffusion_model.{2}.lora_B.weight"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_change(
    form: str, teacher: UNet2DConditionModel, adapters: dict[str, Tensor], tmp_path: Path
) -> None:
    down, up = FORMS[form]
    state = {}
    for layer, (a, b) in layers(adapters).items():
        names = layer, layer.replace(".", "_"), original(layer), original(layer).replace(".", "_")
        state |= {down.format(*names): a.contiguous(), up.format(*names): b.contiguous()}
    save_file(state, tmp_path / "lora.safetensors")
    notes: list[str] = []
    found = load_published(tmp_path / "lora.safetensors", StableDiffusionDenoiser, teacher, notes.append)
    equal(found, merged(teacher, adapters))
    assert len(notes) == 1 and "alpha = rank is taken" in notes[0]


def test_attention_processors_of_old_diffusers(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], tmp_path: Path
) -> None:
    attended = {key: value for key, value in adapters.items() if ".to_" in key}
    state = {}
    for layer, (down, up) in layers(attended).items():
        attention, _, name = layer.removesuffix(".0").rpartition(".")
        state[f"unet.{attention}.processor.{name}_lora.down.weight"] = down.contiguous()
        state[f"unet.{attention}.processor.{name}_lora.up.weight"] = up.contiguous()
    save_file(state, tmp_path / "pytorch_lora_weights.safetensors")
    equal(load_published(tmp_path, StableDiffusionDenoiser, teacher), merged(teacher, attended))


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_diffusers_own_writer_with_and_without_its_settings(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], alpha: float | None, tmp_path: Path
) -> None:
    """`save_lora_weights` keeps alpha in the header of the file, if it is given, and nowhere else."""
    about = {"r": RANK, "lora_alpha": alpha, "target_modules": TARGETS} if alpha else None
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers={k: v.contiguous() for k, v in adapters.items()},
        unet_lora_adapter_metadata=about,
    )
    notes: list[str] = []
    found = load_published(tmp_path, StableDiffusionDenoiser, teacher, notes.append)
    equal(found, merged(teacher, adapters, (alpha or RANK) / RANK))
    assert bool(notes) == (alpha is None)


@pytest.mark.parametrize(("by_root", "scale"), [(False, 8 / RANK), (True, 8 / RANK**0.5)])
def test_peft_s_own_folder(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], by_root: bool, scale: float, tmp_path: Path
) -> None:
    state = {f"base_model.model.{key}": value.contiguous() for key, value in adapters.items()}
    save_file(state, tmp_path / "adapter_model.safetensors")
    about = {"r": RANK, "lora_alpha": 8, "use_rslora": by_root, "use_dora": False, "alpha_pattern": {}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(about))
    equal(load_published(tmp_path, StableDiffusionDenoiser, teacher), merged(teacher, adapters, scale))
    (tmp_path / "adapter_config.json").write_text(json.dumps(about | {"use_dora": True}))
    with pytest.raises(UserError, match=r"settings have use_dora, which is not supported; fix"):
        load_published(tmp_path, StableDiffusionDenoiser, teacher)


def kohya(adapters: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for layer, (down, up) in layers(adapters).items():
        name = f"lora_unet_{layer.replace('.', '_')}"
        state |= {f"{name}.lora_down.weight": down.contiguous(), f"{name}.lora_up.weight": up.contiguous()}
    return state


@pytest.mark.parametrize(
    "alpha", [torch.tensor(2.0), torch.tensor([2.0]), torch.tensor(2), torch.tensor(2.0).half()]
)
def test_alpha_scales_whatever_its_type(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], alpha: Tensor
) -> None:
    state = kohya(adapters)
    state |= {f"{key.partition('.')[0]}.alpha": alpha for key in kohya(adapters)}
    unet = copy.deepcopy(teacher)
    merge_lora(unet, StableDiffusionDenoiser.lora_names(unet), state, "file")
    equal(unet, merged(teacher, adapters, 2 / RANK))


LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = f"lora_unet_{LAYER.replace('.', '_')}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{KEY}.alpha": torch.tensor(0.0)}, r"alpha 0, by which it changes nothing"),
        ({f"{KEY}.alpha": torch.tensor(torch.nan)}, r"alpha nan"),
        ({f"{KEY}.alpha": torch.zeros(2)}, r"alpha \(\[2\] for one number\)"),
        ({f"{KEY}.lora_down.weight": torch.ones(RANK, 32, dtype=torch.int8)}, r"to_q \(int8: quantised"),
        ({f"{KEY}.lora_up.weight": torch.full((32, RANK), torch.inf)}, r"to_q \(not finite\)"),
        ({f"{KEY}.lora_up.weight": torch.zeros(32, 0)}, r"to_q \(\[32, 0\] by"),
        ({f"{KEY}.dora_scale": torch.ones(32)}, r"dora_scale \(unexpected\)"),
        ({f"{KEY}.lora_mid.weight": torch.ones(4, 4, 3, 3)}, r"lora_mid\.weight \(unexpected\)"),
        ({f"{KEY}.hada_w1_a": torch.ones(4, 4)}, r"hada_w1_a \(unexpected\)"),
        ({f"unet.{LAYER}.lora_A.weight": torch.ones(RANK, 32)}, r"down of .*to_q for the second time"),
        ({"lora_te1_x.lora_down.weight": torch.ones(1)}, r"lora_te1_x.*adapts text encoders too"),
        ({"text_encoder.x.lora_A.weight": torch.ones(1)}, r"text_encoder\.x.*adapts text encoders too"),
    ],
)
def test_what_is_not_understood_is_refused_and_changes_nothing(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], changes: dict[str, Tensor], message: str
) -> None:
    unet = copy.deepcopy(teacher)
    with pytest.raises(UserError, match=message):
        merge_lora(unet, StableDiffusionDenoiser.lora_names(unet), kohya(adapters) | changes, "file")
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in unet.state_dict().items())


def test_original_names_are_those_of_the_published_networks(teacher: UNet2DConditionModel) -> None:
    weighted = [
        name for name, module in teacher.named_modules() if hasattr(module, "weight") and "norm" not in name
    ]
    names = names_of(weighted, 1)
    for layer in weighted:
        assert names[original(layer)] == layer


@settings(deadline=None, max_examples=100)
@given(
    st.text(max_size=60) | st.from_regex(r"(unet\.|lora_unet_)?[a-z_.]{1,20}\.(lora_(A|down|up)|alpha)(\.weight)?")
)
def test_any_name_is_split_or_left(name: str) -> None:
    layer, part = part_of(name)
    assert part in ("", "down", "up", "alpha") and (part or layer == name)
    assert is_lora([name]) == (part in ("down", "up"))


def test_a_metadata_header_that_lies(
    teacher: UNet2DConditionModel, adapters: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "lora.safetensors"
    for text in ("{", "[]", "[" * 50_000, '{"unet.lora_alpha": "four"}', '{"unet.alpha_pattern": {"(a+)+$": 1}}'):
        save_file(kohya(adapters), file, metadata={"lora_adapter_metadata": text})
        with pytest.raises(UserError, match=r"lora\.safetensors: the LoRA's settings"):
            load_published(file, StableDiffusionDenoiser, teacher)
    assert load_file(file)
