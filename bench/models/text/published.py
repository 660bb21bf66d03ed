"""Read published students of SDXL and SD1.5: a UNet's weights, a LoRA, or the checkpoint folder of a training."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from torch import Tensor

from bench.core.errors import UserError, listed
from bench.core.escape import printable
from bench.core.files import read_object, refuse_special_files
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.lora import LoRASpec, Note, low_rank, merge_lora
from bench.models.text.lora_files import PEFT_FILE, is_lora, read_settings
from bench.models.text.pipelines import schedule_of
from bench.models.weights.checkpoints import GENERATOR_FILES, PREFIXES
from bench.models.weights.compare import differences, without_prefixes
from bench.models.weights.folders import INDEX, other_options, read_parts
from bench.models.weights.state_dicts import read_state_dict, require

UNET_FILE = "diffusion_pytorch_model.safetensors"
UNET_INDEX = f"diffusion_pytorch_model{INDEX}"
FILES = (*GENERATOR_FILES, UNET_FILE, UNET_INDEX, "pytorch_lora_weights.safetensors", PEFT_FILE)
"""Files of a student's folder: a training's checkpoint, diffusers' UNet, whole or in parts, or a LoRA."""
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""Parts of peft's names of a layer with an adapter, in a checkpoint of a LoRA's training."""
ONE_FILE = ("input_blocks.", "model.diffusion_model.input_blocks.")
"""Prefixes of names in checkpoints of a whole pipeline in one file."""


def load_published(
    path: Path, teacher: UNet2DConditionModel, note: Note | None = None, schedule: VPSchedule | None = None
) -> UNet2DConditionModel:
    """Read a published student's weights into a UNet like the teacher's, float32, frozen.

    `path` is a file of a UNet's weights (`dmd2_sdxl_4step_unet_fp16.bin`, a safetensors file), a LoRA in any form
    of `bench.models.text.lora_files`, a folder of either as diffusers writes it, whole or in parts, a pipeline's
    folder with `unet/`, or that of a checkpoint (its generator; of a LoRA's training too, with DMD2's alpha).
    `note` receives assumptions about what the file does not say; `schedule` is the teacher's, and a pipeline's
    scheduler must agree with it. Nothing in the file is run. Raises UserError that lists all tensors that are
    missing, unexpected or misshapen.
    """
    require(path)
    file = _weights_in(path, teacher.config, note, schedule) if path.is_dir() else path
    state = read_parts(file) if file.name.endswith(INDEX) else read_state_dict(file)
    if is_lora(state) and not any(BASE in name for name in state):
        unet = copy.deepcopy(teacher)
        merge_lora(unet, StableDiffusionDenoiser.lora_names(unet), state, str(file), read_settings(file), note)
        return unet.eval().requires_grad_(False)
    for prefix in PREFIXES["generator"]:
        if prefix and any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return unet_with(teacher, merged_adapters(state, LoRASpec().alpha, str(file), note), str(file))


def _weights_in(folder: Path, teacher: Mapping[str, Any], note: Note | None, schedule: VPSchedule | None) -> Path:
    """Find the one file of a folder that holds a student, or the index of its parts. Raises UserError."""
    refuse_special_files(folder)
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if (folder / "unet").is_dir():
        if found:
            raise _ambiguous(folder, [*found, folder / "unet"])
        _refuse_another_schedule(folder / "scheduler" / "scheduler_config.json", schedule)
        if (folder / "model_index.json").is_file() and note:
            note(f"only unet/ of the pipeline {folder} is used as the student; everything else is the teacher's")
        return _weights_in(folder / "unet", teacher, None, None)
    if not found:
        names = sorted(entry.name for entry in folder.iterdir())
        raise UserError(
            f"{folder} holds none of {', '.join(FILES)}, unet/; it holds {listed(map(printable, names))}; "
            "fix: name the file itself"
        )
    if len(found) > 1:
        raise _ambiguous(folder, found)
    if found[0].name in (UNET_FILE, UNET_INDEX) and (folder / "config.json").is_file():
        _refuse_another_network(folder / "config.json", teacher)
    return found[0]


def _ambiguous(folder: Path, found: list[Path]) -> UserError:
    return UserError(
        f"{folder} holds {listed([one.name for one in found])}, and any of these could be the student; "
        f"fix: name one, such as --checkpoint {shlex.quote(str(found[0]))}"
    )


def _refuse_another_network(path: Path, teacher: Mapping[str, Any]) -> None:
    """Raise UserError if a UNet's configuration differs from the teacher's beyond the tensors' shapes."""
    config = read_object(path)
    if config is None:
        raise UserError(f"cannot read {path}: it is no JSON object; fix: download it again")
    named = config.get("_class_name", UNet2DConditionModel.__name__)
    if named != UNet2DConditionModel.__name__:
        raise UserError(
            f"{path.parent} holds a {printable(named)[:80]}, and a UNet2DConditionModel is wanted; "
            "fix: name another folder"
        )
    if other := other_options(config, teacher):
        raise UserError(
            f"{path.parent} is not a UNet like the teacher's: {listed(other)}; fix: name a student of this teacher"
        )


def _refuse_another_schedule(path: Path, teacher: VPSchedule | None) -> None:
    """Raise UserError if a pipeline's UNet has another prediction or noise schedule than the teacher's."""
    if teacher is None or not path.is_file():
        return
    config = read_object(path)
    if config is None:
        raise UserError(f"cannot read {path}: it is no JSON object; fix: download it again")
    found = schedule_of(config)
    what = ("prediction", "beta_start", "beta_end")
    if other := [
        f"{one} {getattr(found, one)} for {getattr(teacher, one)}"
        for one in what
        if getattr(found, one) != getattr(teacher, one)
    ]:
        raise UserError(
            f"{path}: the student has another schedule than the teacher: {', '.join(other)}; "
            "fix: name a student of this teacher"
        )


def unet_with(like: UNet2DConditionModel, state: Mapping[str, Tensor], source: str) -> UNet2DConditionModel:
    """Build a UNet with the configuration of `like` and these weights, float32, frozen.

    Prefixes that tools add to all names are stripped. Raises UserError that names `source` if a name or a shape
    differs from the network's, or if a tensor does not hold weights.
    """
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(like.config)
    expected = unet.state_dict()
    state = without_prefixes(state, expected.__contains__)
    if wrong := differences(expected, state):
        hint = ""
        if any(name.startswith(ONE_FILE) for name in state):
            hint = (
                "; its names (model.diffusion_model.*, input_blocks.*) are those of a pipeline in one file; fix: "
                "read it with diffusers' from_single_file, and save its UNet with save_pretrained"
            )
        raise UserError(f"{source} is not a UNet like the teacher's: {wrong}{hint}")
    unet.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return unet.eval().requires_grad_(False)


def merged_adapters(
    state: Mapping[str, Tensor], alpha: float, source: str = "", note: Note | None = None
) -> dict[str, Tensor]:
    """Return the weights of a UNet whose layers have peft's adapters, with the adapters added to the layers.

    The file does not hold `alpha`; `note` receives a line with the value that is used.
    """
    merged, adapted = dict[str, Tensor](), set[str]()
    for name, down in state.items():
        layer = name.removesuffix(DOWN)
        weight, up = state.get(f"{layer}{BASE}weight"), state.get(layer + UP)
        if not name.endswith(DOWN) or weight is None or up is None:
            continue
        parts = {f"{layer}{BASE}weight": weight, layer + UP: up, name: down}
        if any(problem := differences({key: value.float()}, {key: value}) for key, value in parts.items()):
            raise UserError(f"{source}: an adapter does not hold weights: {problem}")
        rows = (len(weight), len(down))
        if not down.numel() or up.flatten(1).shape != rows or down.shape[1:] != weight.shape[1:]:
            shapes = f"{list(up.shape)} by {list(down.shape)} for {list(weight.shape)}"
            raise UserError(f"{source}: an adapter does not fit its layer: {printable(layer)} ({shapes})")
        merged[f"{layer}.weight"] = weight.float() + low_rank(up, down, alpha)
        adapted |= parts.keys()
    if adapted and note:
        note(f"{source} is a LoRA's training, which keeps no alpha: DMD2's {alpha:g} is taken")
    # A tensor without its other half keeps its name, so that it is reported as unexpected.
    return merged | {name.replace(BASE, "."): value for name, value in state.items() if name not in adapted}
