"""Read Stable Diffusion's pipelines (SD1.5, SDXL): a folder or one file, and their scheduler's noise schedule."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import diffusers
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bench.core.errors import UserError, listed
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.schedules import Betas, VPSchedule
from bench.models.text.encoders import CLIPEncoder, SDXLEncoder, TextEncoder
from bench.models.text.latents import LatentSpace
from bench.models.text.one_file import SDXL_TEXT, read_one_file, refuse_another_schedule
from bench.models.text.parts import read_scheduler, read_tokenizer
from bench.models.weights.folders import load_network

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
CHANGED_BY: Mapping[str, Any] = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "snr_shift_scale": None,
}
"""Options of a scheduler that change its noise schedule, with their neutral values."""
TIMES = 1000
"""Times of the noise schedule; steps of students are named by their position among them."""
PUBLISHED: Mapping[bool, Mapping[str, Any]] = {
    False: {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1},
    True: {
        "clip_sample": False,
        "interpolation_type": "linear",
        "sample_max_value": 1.0,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "use_karras_sigmas": False,
    },
}
"""Options in the scheduler files that SD1.5 and SDXL were published with, by whether it is SDXL; all others are
diffusers' defaults. Every baseline uses these, even if the file in the teacher's folder has changed since."""


def schedule_of(scheduler: Mapping[str, Any], betas: Betas = "scaled_linear") -> VPSchedule:
    """Return the noise schedule, with such `betas`, of a diffusers scheduler's configuration.

    Raises UserError for other kinds.
    """
    _refuse_other_kinds(scheduler)
    missing = {"beta_schedule": None, **CHANGED_BY}
    if absent := [key for key in ("beta_start", "beta_end", "num_train_timesteps") if key not in scheduler]:
        raise UserError(f"the scheduler's configuration has no {listed(absent)}; fix: download it again")
    found = missing | dict(scheduler)
    for key, known in (missing | {"beta_schedule": betas}).items():
        if found[key] != known:
            raise UserError(f"the scheduler's {key} is {_shown(found[key])}; only {known!r} is known here")
    predictions: dict[str, Literal["epsilon", "v"]] = {"epsilon": "epsilon", "v_prediction": "v"}
    prediction = found.get("prediction_type", "epsilon")
    if not isinstance(prediction, str) or prediction not in predictions:
        raise UserError(
            f"the scheduler's prediction_type is {_shown(prediction)}; known: {', '.join(predictions)}"
        )
    start, end, steps = (scheduler[key] for key in ("beta_start", "beta_end", "num_train_timesteps"))
    numbers = all(type(beta) in (int, float) and math.isfinite(beta) for beta in (start, end))
    if not numbers or not 0 < start <= end < 1:
        raise UserError(
            f"the scheduler's beta_start is {_shown(start)} and its beta_end {_shown(end)}; they must be "
            "numbers between 0 and 1 in ascending order; fix: download it again"
        )
    if type(steps) is not int or steps != TIMES:
        raise UserError(f"the scheduler's num_train_timesteps is {_shown(steps)}; only {TIMES} is known here")
    return VPSchedule(predictions[prediction], float(start), float(end), steps, betas)


def _refuse_other_kinds(scheduler: Mapping[str, Any]) -> None:
    """Raise UserError for a scheduler's class without betas: a flow's or EDM's may keep idle ones."""
    named = scheduler.get("_class_name")
    kind = getattr(diffusers, named, None) if isinstance(named, str) and named.isidentifier() else None
    if named is not None and (kind is None or "beta_start" not in inspect.signature(kind.__init__).parameters):
        raise UserError(
            f"the scheduler is a {_shown(named)}, which has no noise schedule of betas that is known here; "
            "fix: name a teacher with a scheduler of Stable Diffusion's kind"
        )


def _shown(value: Any) -> str:
    return printable(repr(value))[:80]


def scheduler_options(pipeline: TextPipeline) -> dict[str, Any]:
    """Return the options of schedulers that give them the pipeline's noise schedule and prediction type."""
    own = schedule_of(pipeline.scheduler)
    return {
        "num_train_timesteps": len(own.grid),
        "beta_start": own.beta_start,
        "beta_end": own.beta_end,
        "beta_schedule": "scaled_linear",
        "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[own.prediction],
        **PUBLISHED[bool(pipeline.encoder.layout.pooled)],
    }


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    network = family.read_network(folder / family.folder)
    return TextPipeline(
        family,
        network,
        LatentSpace(load_network(AutoencoderKL, folder / "vae")),
        _encoder(folder, network.config.addition_embed_type == "text_time"),
        read_scheduler(folder),
    )


def read_file(family: type[TextFamily], file: PipelineFile) -> TextPipeline:
    """Read a pipeline in one file, by default with SD1.5's or SDXL's configuration.

    Raises UserError that names every tensor that does not belong.
    """
    path, state = file.path, file.state
    sdxl = any(name.startswith(SDXL_TEXT) for name in state)
    like, folder = file.configuration(SDXL if sdxl else SD15)
    scheduler = read_scheduler(folder)
    refuse_another_schedule(path, state, schedule_of(scheduler).log_alpha_bar)
    network, vae, text = read_one_file(path, state, folder, like)
    tokenizer = read_tokenizer(folder / "tokenizer")
    encoder: TextEncoder = CLIPEncoder(tokenizer, text[0])
    if sdxl:
        tokenizers = tokenizer, read_tokenizer(folder / "tokenizer_2")
        encoder = SDXLEncoder(tokenizers, (text[0], text[1]), _zero_null(folder))
    return TextPipeline(family, network, LatentSpace(vae), encoder, scheduler)


def _encoder(folder: Path, sdxl: bool) -> TextEncoder:
    one = read_tokenizer(folder / "tokenizer"), load_network(CLIPTextModel, folder / "text_encoder")
    if not sdxl:
        return CLIPEncoder(*one)
    second = load_network(CLIPTextModelWithProjection, folder / "text_encoder_2")
    two = read_tokenizer(folder / "tokenizer_2"), second
    return SDXLEncoder((one[0], two[0]), (one[1], two[1]), _zero_null(folder))


def _zero_null(folder: Path) -> bool:
    """Say whether SDXL's unconditional entry is zero in its pipeline."""
    return bool(read_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True))
