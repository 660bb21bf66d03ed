"""LoRA: low-rank adapters on a UNet by peft, written and read in the form that is published (kohya's)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from tasks.errors import UserError, listed

TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)
"""The UNet's layers that DMD2's SDXL LoRA adapts (official code)."""
ADAPTER = "default"
PREFIX = "lora_unet_"
DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


@dataclass(frozen=True)
class LoRASpec:
    """A LoRA's numbers: W + alpha / rank * up @ down. The defaults are DMD2's for SDXL (official code)."""

    rank: int = 64
    alpha: float = 8.0
    dropout: float = 0.0


def add_lora(unet: UNet2DConditionModel, spec: LoRASpec) -> None:
    """Freeze the UNet and add adapters to train; they change nothing yet (up is zero, down random)."""
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,
            lora_dropout=spec.dropout,
            target_modules=list(TARGETS),
        ),
        adapter_name=ADAPTER,
    )


def has_lora(unet: UNet2DConditionModel) -> bool:
    """Whether the UNet has adapters of its own."""
    return any(isinstance(module, LoraLayer) for module in unet.modules())


def lora_state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """The adapters as published ones are: `lora_unet_<layer>.lora_down.weight`, `.lora_up.weight`, `.alpha`.

    diffusers' `load_lora_weights` takes them as they are, and finds the scale in `alpha`.
    """
    state = {}
    for name, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            layer = PREFIX + name.replace(".", "_")
            for part, adapter in ((DOWN, module.lora_A), (UP, module.lora_B)):
                state[f"{layer}.{part}"] = adapter[ADAPTER].weight.detach().cpu().contiguous()
            state[f"{layer}.{ALPHA}"] = torch.tensor(float(module.lora_alpha[ADAPTER]))
    return state


@torch.no_grad()
def merge_lora(unet: UNet2DConditionModel, state: Mapping[str, Tensor], source: str) -> None:
    """Add a LoRA of the published form to the weights of a UNet without adapters.

    Raises UserError with the list of what is missing, unexpected or misshapen; `source` names the file.
    """
    layers = {
        PREFIX + name.replace(".", "_"): module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    found: dict[str, dict[str, Tensor]] = {}
    wrong = []
    for key, value in state.items():
        layer, _, part = key.partition(".")
        if layer in layers and part in (DOWN, UP, ALPHA):
            found.setdefault(layer, {})[part] = value
        else:
            wrong.append(f"{key} (unexpected)")
    changes = {}
    for layer, parts in found.items():
        absent = [f"{layer}.{part} (missing)" for part in (DOWN, UP, ALPHA) if part not in parts]
        wrong += absent
        if absent:
            continue
        weight, down, up = layers[layer].weight, parts[DOWN], parts[UP]
        rank = len(down)
        if down.shape[1:] != weight.shape[1:] or up.flatten(1).shape != (len(weight), rank):
            shapes = f"{list(up.shape)} by {list(down.shape)} for {list(weight.shape)}"
            wrong.append(f"{layer} ({shapes})")
            continue
        changes[layer] = low_rank(up, down, float(parts[ALPHA]))
    if wrong or not changes:
        raise UserError(f"{source}: LoRA and UNet do not fit: {listed(wrong)}; layers that fit: {len(changes)}")
    for layer, change in changes.items():
        layers[layer].weight += change.to(layers[layer].weight)


def low_rank(up: Tensor, down: Tensor, alpha: float) -> Tensor:
    """The weight's change, alpha / rank * up @ down in float32: up [O, r (, 1, 1)], down [r, I (, k, k)]."""
    product = up.float().flatten(1) @ down.float().flatten(1)
    return alpha / len(down) * product.reshape(len(up), *down.shape[1:])
