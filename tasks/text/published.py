"""Published students of SDXL and SD1.5: a UNet's weights alone, a LoRA, or a training's checkpoint folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from torch import Tensor

from tasks.errors import UserError, listed
from tasks.text.lora import PREFIX, LoRASpec, low_rank, merge_lora
from tasks.weights.checkpoints import GENERATOR_FILES, PREFIXES
from tasks.weights.state_dicts import read_state_dict

FILES = (*GENERATOR_FILES, "diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors")
"""Those of a student's folder: of a training's checkpoint, of diffusers' own UNet, of diffusers' LoRA."""
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""How peft names a layer with an adapter, in a checkpoint of a LoRA's training."""


def load_published_unet(path: Path, teacher: UNet2DConditionModel) -> UNet2DConditionModel:
    """Read a published student's weights into a UNet like the teacher's, float32, frozen.

    `path` is a file of a UNet's weights (`dmd2_sdxl_4step_unet_fp16.bin`, a safetensors file), a LoRA in
    kohya's form, a folder of either as diffusers writes it, or that of a checkpoint (its generator; of a LoRA's
    training too, with DMD2's alpha).
    Nothing in it is run. Raises UserError with the list of what is missing, unexpected or misshapen.
    """
    file = _generator_file(path) if path.is_dir() else path
    state = read_state_dict(file)
    if any(name.startswith(PREFIX) for name in state):
        unet = copy.deepcopy(teacher)
        merge_lora(unet, state, str(file))
        return unet.eval().requires_grad_(False)
    for prefix in PREFIXES["generator"]:
        if prefix and any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return unet_with(teacher, merged_adapters(state, LoRASpec().alpha), str(file))


def _generator_file(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    held = sorted(entry.name for entry in folder.iterdir())
    raise UserError(f"{folder} holds none of {', '.join(FILES)}; it holds {listed(held)}")


def unet_with(like: UNet2DConditionModel, state: Mapping[str, Tensor], source: str) -> UNet2DConditionModel:
    """Build a UNet of the configuration of `like` with these weights, float32, frozen.

    Raises UserError, with `source`, if a name or a shape is not exactly the network's.
    """
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(like.config)
    expected = {name: value.shape for name, value in unet.state_dict().items()}
    wrong = [f"{name} (missing)" for name in expected if name not in state]
    wrong += [f"{name} (unexpected)" for name in state if name not in expected]
    wrong += [
        f"{name} ({list(value.shape)} for {list(expected[name])})"
        for name, value in state.items()
        if name in expected and value.shape != expected[name]
    ]
    if wrong:
        raise UserError(f"{source} is not a UNet like the teacher's: {listed(wrong)}")
    unet.load_state_dict({name: value.to(torch.float32) for name, value in state.items()}, assign=True)
    return unet.eval().requires_grad_(False)


def merged_adapters(state: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Weights of a UNet whose layers have peft's adapters, with the adapters added to the layers."""
    merged, adapted = {}, set()
    for name, down in state.items():
        layer = name.removesuffix(DOWN)
        weight = state.get(f"{layer}{BASE}weight")
        if name.endswith(DOWN) and layer + UP in state and weight is not None:
            merged[f"{layer}.weight"] = weight.float() + low_rank(state[layer + UP], down, alpha)
            adapted |= {name, layer + UP, f"{layer}{BASE}weight"}
    # What lacks its other half keeps its name, so that it is said to be unexpected.
    return merged | {name.replace(BASE, "."): value for name, value in state.items() if name not in adapted}
