"""Files with Black Forest Labs' names of layers, read as diffusers reads them."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from torch import Tensor

from bench.models.text.flux_names import diffusers_lora, diffusers_weights, original_layers

NORMS = ("query_norm", "key_norm")
RANK = 2


@pytest.fixture(scope="module")
def network() -> dict[str, Tensor]:
    """The tensors of FLUX.1-dev with fewer blocks, without memory: diffusers' converters know its width alone."""
    with torch.device("meta"):
        return FluxTransformer2DModel(guidance_embeds=True, num_layers=2, num_single_layers=2).state_dict()


def rows_of(network: dict[str, Tensor]) -> dict[str, int]:
    """Return the outputs of each original layer."""
    return {
        name: sum(len(network[f"{part}.weight"]) for part in parts)
        for name, parts in original_layers(network).items()
    }


@pytest.fixture(scope="module")
def original(network: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under their original names, of the true height and 3 wide."""
    torch.manual_seed(0)
    state = {}
    for name, rows in rows_of(network).items():
        if name.endswith(NORMS):
            state[f"{name}.scale"] = torch.randn(rows)
        else:
            state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(rows, 3), torch.randn(rows)
    return state


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_weights_are_those_of_diffusers_converter(prefix: str, network, original) -> None:
    found = diffusers_weights({prefix + name: value for name, value in original.items()}, network)
    expected = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    assert found.keys() == expected.keys() == network.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def lora(network: dict[str, Tensor], layers: list[str]) -> dict[str, Tensor]:
    """Return a LoRA of original layers in kohya's form, with an alpha that is not the rank."""
    torch.manual_seed(0)
    state, rows = {}, rows_of(network)
    for layer in layers:
        name = f"lora_unet_{layer.replace('.', '_')}"
        state[f"{name}.lora_down.weight"] = torch.randn(RANK, 3)
        state[f"{name}.lora_up.weight"] = torch.randn(rows[layer], RANK)
        state[f"{name}.alpha"] = torch.tensor(1.0)
    return state


def changes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what a LoRA in diffusers' or our names adds to each layer's weight."""
    found = {}
    for name, down in state.items():
        for ours, theirs in (("lora_down", "lora_up"), ("lora_A", "lora_B")):
            if name.endswith(f".{ours}.weight"):
                layer = name.removesuffix(f".{ours}.weight")
                alpha = state.get(f"{layer}.alpha", torch.tensor(float(RANK)))
                up = state[f"{layer}.{theirs}.weight"]
                found[layer.removeprefix("transformer.")] = alpha / RANK * up @ down
    return found


def test_a_lora_is_that_of_diffusers_converter(network) -> None:
    """Except for the last layers, whose alphas diffusers (0.42) leaves out."""
    layers = [name for name in original_layers(network) if not name.endswith(NORMS) and "final_layer" not in name]
    state = lora(network, layers)
    found = changes(diffusers_lora(state, network))
    expected = changes(_convert_kohya_flux_lora_to_diffusers(dict(state)))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_last_modulation_of_a_lora_is_swapped_with_its_alpha(network) -> None:
    state = lora(network, ["final_layer.adaLN_modulation.1"])
    down, up, alpha = state.values()
    shift, scale = (alpha / RANK * up @ down).chunk(2)
    found = changes(diffusers_lora(state, network))
    torch.testing.assert_close(found["norm_out.linear"], torch.cat([scale, shift]))


@pytest.mark.parametrize("prefix", ["diffusion_model.", ""])
def test_a_lora_with_dots_is_the_same(prefix: str, network) -> None:
    one = lora(network, ["single_blocks.1.linear1"])
    other = {f"{prefix}single_blocks.1.linear1.{name.partition('.')[2]}": value for name, value in one.items()}
    found = diffusers_lora(other, network)
    assert found.keys() == diffusers_lora(one, network).keys()
    assert {name.rpartition(".lora_up")[0] for name in found if "lora_up" in name} == {
        f"single_transformer_blocks.1.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    }


@pytest.mark.parametrize(
    "name", ["double_blocks.7.img_mlp.0.weight", "img_in.weight_scale", "other.weight", "lora_unet_other.alpha"]
)
def test_tensors_with_unknown_names_keep_them(name: str, network) -> None:
    value = torch.ones(3)
    assert diffusers_lora({name: value}, network) == {name: value}
    assert name in diffusers_weights({name: value}, network)


def test_a_layer_under_two_names_is_kept_under_both(network, original) -> None:
    """So that the second is reported as unexpected, and does not replace the first silently."""
    scale = "double_blocks.0.img_attn.norm.query_norm.scale"
    found = diffusers_weights({**original, scale.replace("scale", "weight"): original[scale]}, network)
    assert found.keys() - network.keys() == {"double_blocks.0.img_attn.norm.query_norm.weight"}


def test_a_fused_layer_of_another_height_is_found_to_be_misshapen(network, original) -> None:
    name = "double_blocks.0.img_attn.qkv.bias"
    found = diffusers_weights({**original, name: torch.ones(5)}, network)
    assert found["transformer_blocks.0.attn.to_q.bias"].shape == (5,)
    assert "transformer_blocks.0.attn.to_k.bias" not in found
