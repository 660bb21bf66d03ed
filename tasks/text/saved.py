"""Students of text models on disk: a diffusers UNet or a LoRA, and beside it how to use it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from tasks.errors import UserError
from tasks.files import whole_folder
from tasks.saved import bottleneck_of, described, save_unet, write_description
from tasks.schedules import VPSchedule
from tasks.text.denoiser import TextDenoiser
from tasks.text.layout import ConditionLayout
from tasks.text.lora import has_lora, lora_state, merge_lora
from tasks.text.pipelines import load_part
from tasks.weights.state_dicts import read_state_dict

TEXT = "text"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name that `load_lora_weights` looks for in a folder."""


def save_text_denoiser(denoiser: TextDenoiser, folder: Path, indices: Sequence[int] = ()) -> None:
    """Write `folder`/denoiser.json, and `folder`/unet or, of a UNet with adapters, these alone.

    Either is for stock pipelines too: `UNet2DConditionModel.from_pretrained(folder, subfolder="unet")`,
    `pipeline.load_lora_weights(folder)`. `indices` are a student's steps. The folder appears whole.
    """
    schedule, lora = denoiser.schedule, has_lora(denoiser.unet)
    description = {
        "kind": TEXT,
        "weights": "lora" if lora else "unet",
        "prediction": schedule.prediction,
        "betas": [schedule.beta_start, schedule.beta_end, len(schedule.grid)],
        "layout": asdict(denoiser.layout),
        "resolution": denoiser.resolution,
        "patch_size": denoiser.patch_size,
        "bottleneck": denoiser.bottleneck,
        "student_indices": list(indices),
    }
    with whole_folder(folder) as temporary:
        if lora:
            save_file(lora_state(denoiser.unet), temporary / LORA_FILE)
        else:
            save_unet(denoiser.unet, temporary / "unet")
        write_description(temporary, description)


def load_text_denoiser(folder: Path, teacher: TextDenoiser | None = None) -> tuple[TextDenoiser, list[int]]:
    """Read what `save_text_denoiser` wrote, frozen, with its steps; a LoRA is merged into the teacher's UNet.

    Raises UserError that names the broken file, or what of a LoRA does not fit the teacher, or if there is none.
    """
    with described(folder, TEXT) as about:
        prediction, (beta_start, beta_end, steps) = about["prediction"], about["betas"]
        if prediction not in ("epsilon", "v") or about["weights"] not in ("unet", "lora"):
            raise ValueError(f"unknown prediction {prediction!r} or weights {about['weights']!r}")
        schedule = VPSchedule(prediction, float(beta_start), float(beta_end), int(steps))
        layout, lora = ConditionLayout(**about["layout"]), about["weights"] == "lora"
        resolution, patch_size = about["resolution"], int(about["patch_size"])
        bottleneck, indices = bottleneck_of(about), [int(index) for index in about["student_indices"]]
    if lora:
        if teacher is None:
            raise UserError(f"{folder} holds a LoRA, which is no denoiser without its teacher")
        unet = copy.deepcopy(teacher.unet)
        merge_lora(unet, read_state_dict(folder / LORA_FILE), str(folder / LORA_FILE))
    else:
        unet = load_part(UNet2DConditionModel, folder / "unet", f"delete {folder} and run again")
    denoiser = TextDenoiser(unet, schedule, layout, resolution, patch_size, bottleneck)
    return denoiser.eval().requires_grad_(False), indices
