"""Networks in folders: what the libraries only warn of, ignore or cast is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DModel
from safetensors.torch import load_file, save_file
from text_pipelines import text_config, tiny_tokenizer, tiny_vae
from torch import Tensor
from transformers import CLIPTextModel

from bench.core.errors import UserError
from bench.models.weights.folders import load_network, other_options, read_parts, unknown_options

NAME = "conv_out.bias"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
    ).save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def rewrite(folder: Path, **changes: Tensor | None) -> None:
    path = folder / "diffusion_pytorch_model.safetensors"
    state = {name: value for name, value in (load_file(path) | changes).items() if value is not None}
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors.index.json"])
def test_a_key_that_is_there_twice_is_named(folder: Path, name: str) -> None:
    """Python's reader, which the libraries use too, would keep the last value without a word."""
    (folder / name).write_text('{"_class_name": "UNet2DModel", "norm_eps": 1e-5, "norm_eps": 1e-6}')
    with pytest.raises(UserError, match=rf"cannot read .*{name}: it has the key 'norm_eps' twice; fix: keep one"):
        load_network(UNet2DModel, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NAME: None}, r"conv_out\.bias \(missing\)"),
        ({"foreign": torch.zeros(1)}, r"foreign \(unexpected\)"),
        ({NAME: None, "foreign": torch.zeros(1)}, r"conv_out\.bias \(missing\); foreign \(unexpected\)"),
        ({NAME: torch.zeros(3, dtype=torch.int8)}, r"conv_out\.bias \(I8: quantised or not weights\)"),
        ({NAME: torch.zeros(3).to(torch.float8_e5m2)}, r"conv_out\.bias \(F8_E5M2: quantised or not weights\)"),
        ({NAME: torch.full((3,), torch.inf)}, r"conv_out\.bias \(not finite\)"),
        ({NAME: torch.zeros(4)}, r"conv_out\.bias"),
    ],
)
def test_tensors_that_the_library_makes_up_ignores_or_casts(
    folder: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    rewrite(folder, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_network(UNet2DModel, folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_half_precision_is_read_in_single(folder: Path) -> None:
    expected = load_file(folder / "diffusion_pytorch_model.safetensors")
    rewrite(folder, **{name: value.half() for name, value in expected.items()})
    found = load_network(UNet2DModel, folder)
    assert found.dtype == torch.float32 and not found.training
    assert torch.equal(found.state_dict()[NAME], expected[NAME].half().float())


def configure(folder: Path, **values: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))


def test_another_class_is_named(folder: Path) -> None:
    configure(folder, _class_name="UNet3DConditionModel")
    with pytest.raises(UserError, match=r"holds a UNet3DConditionModel, but a UNet2DModel is expected; fix"):
        load_network(UNet2DModel, folder)


def test_a_quantised_model_is_refused_before_anything_is_loaded(folder: Path) -> None:
    configure(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(UserError, match=r"holds quantised weights"):
        load_network(UNet2DModel, folder)


@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors", "beside"])
def test_a_named_pipe_in_a_folder_does_not_hang(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=rf"{name} is a named pipe"):
        load_network(UNet2DModel, folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*config\.json: it contains no JSON object; fix: "):
        load_network(UNet2DModel, folder)


def test_positions_that_older_files_keep_are_no_weights(tmp_path: Path) -> None:
    """transformers' networks make 0, 1, 2, ... themselves; a file that counts otherwise means something else."""
    model = CLIPTextModel(text_config(tiny_tokenizer(), 16, "gelu"))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    for positions, taken in ((torch.arange(77)[None], True), (torch.arange(77).flip(0)[None], False)):
        state = load_file(path) | {"text_model.embeddings.position_ids": positions}
        save_file(state, path, metadata={"format": "pt"})
        if taken:
            load_network(CLIPTextModel, tmp_path)
        else:
            with pytest.raises(UserError, match=r"position_ids \(unexpected: other positions"):
                load_network(CLIPTextModel, tmp_path)


def test_parts_are_read_as_their_index_says(tmp_path: Path) -> None:
    tiny_vae().save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    assert len(set(places.values())) > 1
    state = read_parts(index)
    expected = load_network(AutoencoderKL, tmp_path).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())

    part = tmp_path / sorted(set(places.values()))[0]
    held = load_file(part)
    gone = sorted(held)[0]
    save_file({name: value for name, value in held.items() if name != gone}, part)
    with pytest.raises(UserError, match=rf"{gone} \(missing\)"):
        read_parts(index)
    save_file(held | {"more": torch.zeros(1)}, part)
    with pytest.raises(UserError, match=r"more \(in .* which the index does not say\)"):
        read_parts(index)
    part.unlink()
    with pytest.raises(UserError, match=rf"not beside it: {part.name}; fix: download"):
        read_parts(index)


@pytest.mark.parametrize("place", ["../outside.safetensors", "/etc/passwd", "", "..", 3, None])
def test_an_index_names_files_beside_it_alone(tmp_path: Path, place: object) -> None:
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": place}}))
    with pytest.raises(UserError, match="has no valid list of tensors and their files"):
        read_parts(index)
    index.write_text("[]")
    with pytest.raises(
        UserError, match=r"cannot read .*index\.json: it contains no JSON object; fix: download it"
    ):
        read_parts(index)


def test_options_that_shapes_do_not_show_are_compared() -> None:
    teacher = {"act_fn": "silu", "attention_head_dim": (8, 8), "sample_size": 64, "_name": "a", "only": 1}
    assert other_options({**teacher, "attention_head_dim": 8, "sample_size": 128, "_name": "b"}, teacher) == []
    assert other_options({"act_fn": "relu", "new": 2}, teacher) == ["act_fn (relu for silu)"]


FORMER = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.12.0.dev0",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "cross_attention_dim": None,
    "double_self_attention": False,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "norm_num_groups": 32,
    "norm_type": "ada_norm_zero",
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 32,
    "upcast_attention": False,
    "use_linear_projection": False,
}
"""The configuration that DiT-XL/2 was published with."""


def test_options_that_diffusers_does_not_know_are_said_for_each_part(folder: Path) -> None:
    assert unknown_options(folder) == unknown_options(folder.parent) == []
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 2, "decay": None, "_name_or_path": "x"}))
    said = f"{path}: diffusers .* has no such options, and they are not used: later, decay"
    for named in (folder, folder.parent):
        (line,) = unknown_options(named)
        assert re.fullmatch(said, line)
    load_network(UNet2DModel, folder)


def test_the_former_class_s_options_are_known_at_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FORMER))
    assert unknown_options(tmp_path) == []
    (tmp_path / "config.json").write_text(json.dumps(FORMER | {"double_self_attention": True}))
    (line,) = unknown_options(tmp_path)
    assert line.endswith("are not used: double_self_attention")


def test_what_is_no_network_of_diffusers_has_no_options_to_miss(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["CLIPTextModel"], "later": 1}))
    assert unknown_options(tmp_path) == unknown_options(tmp_path / "weights.pt") == []
