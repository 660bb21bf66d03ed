"""Read the published forms of LoRAs: the layer that each tensor adapts, and its alpha.

kohya's: `lora_unet_<layer>.lora_down.weight`, with diffusers' names of layers or those of the original networks.
peft's and diffusers': `unet.<layer>.lora_A.weight`, or `transformer.`. diffusers' older ones:
`unet.<layer>.lora.down.weight`, and `unet.<attention>.processor.to_q_lora.down.weight`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.weights.compare import PREFIXES
from bench.models.weights.state_dicts import file_kind

PREFIX = "lora_unet_"
DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
"""The names of a layer's parts in kohya's form."""
TEXT_PREFIXES = ("lora_te", "text_encoder", "te_", "te1_", "te2_")
"""Prefixes of tensors that adapt text encoders."""
LAYER_PREFIXES = ("base_model.model.", *PREFIXES, "diffusion_model.", "lora_transformer_")
"""Prefixes that files put before the names of layers."""
SEPARATE = re.compile(r"(?P<layer>.+)\.lora_(?P<part>down|up|A|B)(?:\.(?P<adapter>(?!weight$)\w+))?\.weight")
OLDER = re.compile(r"(?P<layer>.+)\.(?:lora|lora_linear_layer)\.(?P<part>down|up)\.weight")
PROCESSOR = re.compile(r"(?P<layer>.+)\.processor\.(?P<map>to_[a-z]+)_lora\.(?P<part>down|up)\.weight")
METADATA = "lora_adapter_metadata"
"""The key of peft's settings in the header of a file by diffusers."""
PEFT_FILE, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"
RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
}
"""Layers that have other names in the original networks than in diffusers."""


@dataclass
class Adapter:
    """The tensors of one layer in a file."""

    down: Tensor | None = None
    up: Tensor | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class LoRASettings:
    """The settings in a LoRA's file beside its tensors."""

    alpha: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    """Alphas by layer, or by the end of a layer's name."""
    by_root: bool = False
    """Whether the scale is alpha / sqrt(rank) (rank-stabilised) and not alpha / rank."""

    def alpha_of(self, layer: str, rank: int) -> float | None:
        """Return the alpha of a layer, which is divided by the rank; None if it is not given."""
        ends = [alpha for end, alpha in self.alphas.items() if layer == end or layer.endswith(f".{end}")]
        alpha = ends[0] if ends else self.alpha
        return None if alpha is None else alpha * math.sqrt(rank) if self.by_root else alpha


def layers_of(
    state: Mapping[str, Tensor], names: Mapping[str, str], settings: LoRASettings
) -> tuple[dict[str, Adapter], list[str]]:
    """Sort a LoRA's tensors by the layers of a network, and list those that fit no layer or occur twice.

    `names` gives the layers by all the names that files use for them (`names_of`).
    """
    found: dict[str, Adapter] = {}
    wrong: list[str] = []
    for key, value in state.items():
        named, part = part_of(key)
        layer = names.get(layer_name(named)) if part else None
        if layer is None:
            wrong.append(f"{key} (unexpected)")
            continue
        adapter = found.setdefault(layer, Adapter())
        if getattr(adapter, part) is not None:
            wrong.append(f"{key} ({part} of {layer} for the second time)")
        elif part != ALPHA:
            setattr(adapter, part, value)
        elif value.numel() == 1 and not value.is_complex():
            adapter.alpha = float(value)
        else:
            wrong.append(f"{key} ({list(value.shape)} for one number)")
    for layer, adapter in found.items():
        if adapter.alpha is None and adapter.down is not None:
            adapter.alpha = settings.alpha_of(layer, len(adapter.down))
    return found, wrong


def part_of(key: str) -> tuple[str, str]:
    """Split a tensor's name into its layer and `down`, `up` or `alpha`, which is empty if it is not a LoRA's."""
    if key.endswith(f".{ALPHA}"):
        return key.removesuffix(f".{ALPHA}"), ALPHA
    if matched := PROCESSOR.fullmatch(key):
        return f"{matched['layer']}.{matched['map']}", matched["part"]
    if matched := SEPARATE.fullmatch(key) or OLDER.fullmatch(key):
        return matched["layer"].replace(".processor.", "."), "down" if matched["part"] in ("down", "A") else "up"
    return key, ""


def is_lora(names: Iterable[str]) -> bool:
    """Say whether any of these names is that of a LoRA's tensor."""
    return any(part_of(name)[1] in ("down", "up") for name in names)


def adaptable_layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers of a network that a LoRA can change, by their names."""
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}


def names_of(layers: Iterable[str], layers_per_block: int) -> dict[str, str]:
    """Return a UNet's layers by their names in files: diffusers' and the original names, with . or _."""
    every = list(layers)
    attended = {name.partition(".attentions.")[0] for name in every if name.startswith("up_blocks.")}
    found: dict[str, str] = {}
    for layer in every:
        block = layer.partition(".upsamplers.")[0]
        upsampler = 1 + (block in attended and any(one.startswith(f"{block}.attentions.") for one in every))
        for name in (layer, original_name(layer, layers_per_block, upsampler)):
            found[name] = found[name.replace(".", "_")] = layer
        if layer.endswith(".to_out.0"):
            found[layer.removesuffix(".0")] = layer
    return found


def original_name(layer: str, layers: int, upsampler: int) -> str:
    """Return the name in the original networks of a layer of diffusers; their blocks have consecutive numbers.

    `layers` is the number of resnets of a down block, `upsampler` the position of an upsampler in its block.
    """
    if layer in TOP:
        return TOP[layer]
    place, _, rest = layer.partition(".resnets.")
    if rest:
        number, _, part = rest.partition(".")
        layer = f"{place}.resnets.{number}.{RESNET.get(part, part)}"
    if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", layer):
        side, block, kind, number, rest = found.groups()
        at = int(block) * (layers + 1) + int(number) + (side == "down")
        return f"{'input' if side == 'down' else 'output'}_blocks.{at}.{int(kind == 'attentions')}.{rest}"
    if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", layer):
        return f"input_blocks.{(int(found[1]) + 1) * (layers + 1)}.0.op"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", layer):
        return f"output_blocks.{int(found[1]) * (layers + 1) + layers}.{upsampler}.conv"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", layer):
        return f"middle_block.{1 if found[1] == 'attentions' else 2 * int(found[2])}.{found[3]}"
    return layer


def layer_name(name: str) -> str:
    """Return a layer's name in a file without the prefixes that tools add."""
    name = name.removeprefix(PREFIX)
    while prefix := next((one for one in LAYER_PREFIXES if name.startswith(one)), ""):
        name = name.removeprefix(prefix)
    return name


def read_settings(file: Path, part: str = "unet") -> LoRASettings:
    """Read a LoRA's settings of a pipeline's `part` from the header of its file, or from peft's file beside it.

    Raises UserError for settings that change the meaning of the tensors and are not supported.
    """
    if file.name == PEFT_FILE and (file.parent / PEFT_SETTINGS).is_file():
        settings = file.parent / PEFT_SETTINGS
        return _settings(read_json(settings), settings, "")
    if file_kind(file) != "safetensors":
        return LoRASettings()
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA)
        found = json.loads(text) if text else {}
    except (SafetensorError, ValueError, RecursionError):
        found = None
    return _settings(found, file, f"{part}.")


def _settings(found: Any, file: Path, prefix: str) -> LoRASettings:
    """Read peft's settings, whose names begin with `prefix`."""

    def refuse(what: str) -> UserError:
        return UserError(f"{file}: the LoRA's settings {what}; fix: save the network with the LoRA fused")

    if not isinstance(found, dict):
        raise refuse("are damaged")
    own = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    if odd := [key for key in ("use_dora", "lora_bias", "use_qalora", "fan_in_fan_out") if own.get(key)]:
        raise refuse(f"have {', '.join(odd)}, which is not supported")
    alphas = own.get("alpha_pattern") or {}
    alpha = own.get("lora_alpha")
    if not isinstance(alphas, dict) or not all(_is_number(one) for one in (*alphas.values(), alpha or 1)):
        raise refuse(f"have the alpha {printable(alpha)[:40]!r}, which is not a number")
    if odd := [key for key in alphas if not re.fullmatch(r"[\w.]+", key)]:
        raise refuse(f"name layers by a pattern, {printable(odd[0])[:80]!r}")
    return LoRASettings(None if alpha is None else float(alpha), alphas, bool(own.get("use_rslora")))


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(value))  # type: ignore[arg-type]
