"""Read Stable Diffusion's pipelines (SD1.5, SDXL): a folder or one file, and their scheduler's noise schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bench.core.files import read_json
from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.text.encoders import CLIPEncoder, SDXLEncoder, TextEncoder
from bench.models.text.latents import LatentSpace
from bench.models.text.one_file import is_sdxl, read_one_file, refuse_another_schedule
from bench.models.text.parts import read_scheduler, read_tokenizer
from bench.models.text.vp_scheduler import schedule_of
from bench.models.weights.folders import load_network

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
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
    sdxl = is_sdxl(state)
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
