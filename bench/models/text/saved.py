"""Students of text models on disk: a diffusers UNet or a LoRA, and beside it how to use it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from bench.core.errors import UserError
from bench.core.files import whole_folder
from bench.models.saved import (
    DESCRIPTION,
    bottleneck_of,
    described,
    indices_of,
    number_of,
    removal,
    save_unet,
    whole_of,
    write_description,
)
from bench.models.schedules import VPSchedule
from bench.models.text.denoiser import TextDenoiser
from bench.models.text.layout import ConditionLayout
from bench.models.text.lora import has_lora, lora_state, merge_lora
from bench.models.weights.folders import load_network
from bench.models.weights.state_dicts import read_state_dict

TEXT = "text"
MAX_TIMES = 100_000
"""Times of a noise schedule; Stable Diffusion's has 1,000."""
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
        betas = {"beta_start": beta_start, "beta_end": beta_end, "steps": steps}
        start, end, times = number_of(betas, "beta_start"), number_of(betas, "beta_end"), whole_of(betas, "steps")
        if not start <= end < 1 or times > MAX_TIMES:
            raise ValueError(f"betas are {about['betas']!r}")
        schedule = VPSchedule(prediction, start, end, times)
        layout, lora = _layout(about["layout"]), about["weights"] == "lora"
        resolution = None if about["resolution"] is None else whole_of(about, "resolution")
        patch_size = whole_of(about, "patch_size")
        bottleneck, indices = bottleneck_of(about), indices_of(about, times)
    if lora:
        if teacher is None:
            raise UserError(f"{folder} holds a LoRA, which is no denoiser without its teacher; fix: name a UNet")
        unet = copy.deepcopy(teacher.unet)
        merge_lora(unet, read_state_dict(folder / LORA_FILE), str(folder / LORA_FILE))
    else:
        # Numbers that are not finite are told by its images, as those of a student in training are.
        unet = load_network(UNet2DConditionModel, folder / "unet", removal(folder), finite=False)
    try:
        denoiser = TextDenoiser(unet, schedule, layout, resolution, patch_size, bottleneck)
    except ValueError as error:
        raise UserError(f"{folder}: {DESCRIPTION} and unet/ do not fit: {error}; fix: {removal(folder)}") from None
    return denoiser.eval().requires_grad_(False), indices


def _layout(found: Any) -> ConditionLayout:
    """Read how conditions are laid out. Raises ValueError, TypeError or KeyError."""
    sizes = {key: whole_of(found, key) for key in ("tokens", "width")}
    pooled = found["pooled"]
    if pooled != 0:
        pooled = whole_of(found, "pooled")
    if len(found) != len(sizes) + 1:
        raise ValueError(f"layout is {found!r}")
    return ConditionLayout(**sizes, pooled=pooled)
