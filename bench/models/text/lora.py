"""LoRA: low-rank adapters on a network by peft, written in the published forms, merged from any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from bench.core.errors import UserError, listed
from bench.core.escape import printable
from bench.models.text.lora_files import (
    ALPHA,
    DOWN,
    PREFIX,
    TEXT_PREFIXES,
    UP,
    Adapter,
    LoRASettings,
    adaptable_layers,
    layers_of,
)
from bench.models.weights.compare import not_weights

ADAPTER = "default"
HALF = (torch.bfloat16, torch.float16)
OF_TEXT = "; it adapts text encoders too, which students here do not; fix: save the denoiser's part alone"
OF_ANOTHER = "; fix: name a LoRA of this teacher's network"
Note = Callable[[str], None]
"""Tells the user one thing."""


@dataclass(frozen=True)
class LoRASpec:
    """A LoRA's numbers: W + alpha / rank * up @ down. The defaults are DMD2's for SDXL (official code)."""

    rank: int = 64
    alpha: float = 8.0
    dropout: float = 0.0


def add_lora(network: Any, spec: LoRASpec, targets: Sequence[str]) -> None:
    """Freeze a network and add adapters to the layers whose names end with one of `targets`.

    They change nothing yet: up is zero, down random. On a network in half precision they are float32, since a step
    of training is smaller than what bf16 can add.
    """
    network.requires_grad_(False)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=list(targets),
    )
    inject_adapter_in_model(config, network, ADAPTER)  # not diffusers' add_adapter, which its DiT has not
    for parameter in network.parameters():
        if parameter.requires_grad and parameter.dtype in HALF:
            parameter.data = parameter.data.float()


def has_lora(network: nn.Module) -> bool:
    """Whether the network has adapters of its own."""
    return any(isinstance(module, LoraLayer) for module in network.modules())


def lora_state(network: nn.Module) -> dict[str, Tensor]:
    """The adapters as published ones are: `lora_unet_<layer>.lora_down.weight`, `.lora_up.weight`, `.alpha`.

    diffusers' `load_lora_weights` takes them as they are, and finds the scale in `alpha`.
    """
    state: dict[str, Tensor] = {}
    for name, down, up, alpha in _adapters(network):
        layer = PREFIX + name.replace(".", "_")
        state |= {f"{layer}.{DOWN}": down, f"{layer}.{UP}": up, f"{layer}.{ALPHA}": torch.tensor(alpha)}
    return state


def scaled_lora_state(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The adapters as diffusers writes a transformer's: `<prefix>.<layer>.lora_A.weight`, `.lora_B.weight`.

    The scale alpha / rank is in B: without an alpha all tools take the rank, but not all read one that is given.
    """
    state: dict[str, Tensor] = {}
    for name, down, up, alpha in _adapters(network):
        state[f"{prefix}.{name}.lora_A.weight"] = down
        state[f"{prefix}.{name}.lora_B.weight"] = alpha / len(down) * up
    return state


def _adapters(network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Yield the adapted layers: name, down [r, I (, k, k)] and up [O, r (, 1, 1)] on the CPU, alpha."""
    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            down, up = (one[ADAPTER].weight.detach().cpu().contiguous() for one in (module.lora_A, module.lora_B))
            yield name, down, up, float(module.lora_alpha[ADAPTER])


@torch.no_grad()
def merge_lora(
    network: nn.Module,
    names: Mapping[str, str],
    state: Mapping[str, Tensor],
    source: str,
    settings: LoRASettings | None = None,
    note: Note | None = None,
) -> None:
    """Add a LoRA of any published form (`bench.models.text.lora_files`) to a network without adapters.

    `names` are the network's layers by the names in the file, as its family gives them. `settings` are what the
    file says beside its tensors. A layer whose alpha is nowhere takes its rank as alpha, as all libraries do, and
    `note` says so. Raises UserError, which names `source`, with the list of what is missing, unexpected, misshapen
    or no weights. The network is changed only if all of it fits.
    """
    layers = adaptable_layers(network)
    found, wrong = layers_of(state, names, settings or LoRASettings())
    changes, without_alpha = {}, 0
    for name, adapter in found.items():
        problem = _misfit(layers[name].weight, adapter)
        if problem:
            wrong.append(f"{name} ({problem})")
            continue
        assert adapter.down is not None and adapter.up is not None
        without_alpha += adapter.alpha is None
        alpha = float(len(adapter.down)) if adapter.alpha is None else adapter.alpha
        changes[name] = low_rank(adapter.up, adapter.down, alpha).reshape(layers[name].weight.shape)
    if wrong or not changes:
        hint = OF_TEXT if any(name.startswith(TEXT_PREFIXES) for name in state) else OF_ANOTHER
        what = listed(map(printable, wrong))
        raise UserError(f"{source}: LoRA and network do not fit: {what}; layers that fit: {len(changes)}{hint}")
    if without_alpha and note:
        note(f"{source} names no alpha for {without_alpha} of {len(changes)} layers: alpha = rank is taken")
    for name, change in changes.items():
        layers[name].weight += change.to(layers[name].weight)


def _misfit(weight: Tensor, adapter: Adapter) -> str:
    """Say why an adapter cannot change a layer's weight; empty if it can."""
    down, up, alpha = adapter.down, adapter.up, adapter.alpha
    if down is None or up is None:
        return f"{'lora_down' if down is None else 'lora_up'}.weight is missing"
    if not down.numel() or not up.numel() or down.ndim < 2:
        return f"{list(up.shape)} by {list(down.shape)}"
    # A linear layer's may be written as 1x1 convolutions, and the other way round.
    fits = _without_ones(down.shape[1:]) == _without_ones(weight.shape[1:])
    if not fits or up.flatten(1).shape != (len(weight), len(down)):
        return f"{list(up.shape)} by {list(down.shape)} for {list(weight.shape)}"
    if alpha is not None and (alpha == 0 or not math.isfinite(alpha)):
        return f"alpha {alpha:g}, by which it changes nothing"
    return not_weights(down) or not_weights(up)


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """A layer's inputs and the side of its kernel, without a kernel of one pixel."""
    return tuple(shape[:1]) if all(side == 1 for side in shape[1:]) else tuple(shape)


def low_rank(up: Tensor, down: Tensor, alpha: float) -> Tensor:
    """The weight's change, alpha / rank * up @ down in float32: up [O, r (, 1, 1)], down [r, I (, k, k)]."""
    product = up.float().flatten(1) @ down.float().flatten(1)
    return alpha / len(down) * product.reshape(len(up), *down.shape[1:])
