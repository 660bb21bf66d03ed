"""Read text-to-image pipelines, part by part, from the hub's cache, a diffusers folder or one file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import AutoencoderKL, AutoencoderTiny
from huggingface_hub import snapshot_download
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bench.core.errors import UserError, first_line, listed
from bench.core.escape import printable
from bench.core.files import read_object, refuse_special_files
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.encoders import CLIPEncoder, SDXLEncoder, TextEncoder
from bench.models.text.latents import LatentSpace
from bench.models.text.one_file import SDXL_TEXT, read_one_file, refuse_another_schedule
from bench.models.weights.folders import WEIGHTS, load_network
from bench.models.weights.state_dicts import file_kind, read_state_dict, require

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
CONFIGURATION = ["*.json", "*/*.json", "*/*.txt"]
"""The files of a pipeline that hold no weights."""
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
PIPELINE_FILES = [
    "model_index.json",
    *(f"{part}/*.{suffix}" for part in PARTS for suffix in ("json", "txt")),
    *(f"{part}/{name}" for part in PARTS for name in WEIGHTS),
]
"""The files of a pipeline in float32, without the files for other libraries and precisions."""
CHANGED_BY: Mapping[str, Any] = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "snr_shift_scale": None,
}
"""Options of a scheduler that change its noise schedule, with their neutral values."""
TIMES = 1000
"""Times of the noise schedule; steps of students are named by their position among them."""
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TINY_VAE_FILES = ["config.json", *WEIGHTS]


@dataclass(frozen=True)
class TextPipeline:
    """The parts of a text-to-image model, on the CPU in float32, in evaluation mode."""

    network: Any
    """The denoiser's."""
    latents: LatentSpace
    encoder: TextEncoder
    scheduler: Mapping[str, Any]
    """The configuration of the scheduler that the model was published with."""

    @property
    def sdxl(self) -> bool:
        """Whether its network takes a pooled embedding and the image's size."""
        return bool(self.encoder.layout.pooled)

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that it was made for."""
        side: int = self.network.config.sample_size * self.latents.factor
        return side

    def denoiser(self, resolution: int | None = None) -> StableDiffusionDenoiser:
        """Return its network as a denoiser of images of `resolution`, its own if none is named.

        Raises UserError if its noise schedule is not a scaled-linear one with epsilon or v prediction.
        """
        schedule = schedule_of(self.scheduler)
        side = (resolution or self.resolution) if self.sdxl else None
        return StableDiffusionDenoiser(self.network, schedule, self.encoder.layout, side)


def schedule_of(scheduler: Mapping[str, Any]) -> VPSchedule:
    """Return the noise schedule of a diffusers scheduler's configuration. Raises UserError for other kinds."""
    missing = {"beta_schedule": None, **CHANGED_BY}
    if absent := [key for key in ("beta_start", "beta_end", "num_train_timesteps") if key not in scheduler]:
        raise UserError(f"the scheduler's configuration has no {listed(absent)}; fix: download it again")
    found = missing | dict(scheduler)
    for key, known in (missing | {"beta_schedule": "scaled_linear"}).items():
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
    return VPSchedule(predictions[prediction], float(start), float(end), steps)


def _shown(value: Any) -> str:
    return printable(repr(value))[:80]


def load_pipeline(
    source: str | Path,
    download: bool = False,
    architecture: str | Path | None = None,
) -> TextPipeline:
    """Read a pipeline: a folder in diffusers' format, one .safetensors file, or a model on the hub ("owner/name").

    Nothing is downloaded without `download`: a hub's model must then be in its cache. A single file holds no
    configuration; that of `architecture` (a folder, or a hub's model without its weights) is used, by default
    SD1.5's or SDXL's. Raises UserError that names the broken part.
    """
    path = Path(source)
    if path.exists():
        require(path)
    if path.is_file():
        return _from_file(path, architecture, download)
    if not path.is_dir() and str(source).count("/") != 1:
        require(path)
    folder = path if path.is_dir() else from_hub(str(source), download, PIPELINE_FILES)
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{folder} has no model_index.json: not a pipeline in diffusers' folder format")
    network = StableDiffusionDenoiser.read_network(folder / StableDiffusionDenoiser.folder)
    return TextPipeline(
        network,
        LatentSpace(load_network(AutoencoderKL, folder / "vae")),
        _encoder(folder, network.config.addition_embed_type == "text_time"),
        _json(folder / "scheduler" / "scheduler_config.json"),
    )


def load_tiny_vae(source: str | Path, download: bool = False) -> LatentSpace:
    """Read a tiny VAE, a folder or a hub's model ("madebyollin/taesdxl"), as another latent space of a model."""
    path = Path(source)
    folder = path if path.is_dir() else from_hub(str(source), download, TINY_VAE_FILES)
    return LatentSpace(load_network(AutoencoderTiny, folder))


def named_folder(named: Path, download: bool, files: list[str]) -> Path:
    """Return the path that a user named: a local folder or file, or a hub's model ("owner/name") by `from_hub`.

    Raises UserError if it is neither, with the nearest names.
    """
    path = named.expanduser()
    if path.exists():
        return path.resolve()
    if not HUB_NAME.fullmatch(str(named)) or path.parent.is_dir():
        require(path)
    return from_hub(str(named), download, files)


def from_hub(name: str, download: bool, files: list[str]) -> Path:
    """Return the folder of a hub's model in the cache; with `download`, download its `files` (patterns) first.

    Raises UserError that says how to get the model.
    """
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=files))
    except Exception as error:  # huggingface_hub, requests and httpx each raise their own
        if download:
            raise UserError(f"cannot download {name}: {first_line(error)}") from None
        raise UserError(
            f"{name} is not in the hub's cache, and nothing is downloaded without --download; fix: run the same "
            "command with --download, or fill the cache ($HF_HOME) from a machine that has it"
        ) from None


def _encoder(folder: Path, sdxl: bool) -> TextEncoder:
    one = _tokenizer(folder / "tokenizer"), load_network(CLIPTextModel, folder / "text_encoder")
    if not sdxl:
        return CLIPEncoder(*one)
    second = load_network(CLIPTextModelWithProjection, folder / "text_encoder_2")
    two = _tokenizer(folder / "tokenizer_2"), second
    return SDXLEncoder((one[0], two[0]), (one[1], two[1]), _zero_null(folder))


def _tokenizer(folder: Path) -> CLIPTokenizer:
    refuse_special_files(folder)
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many types
        raise UserError(f"cannot read the tokenizer {folder}: {first_line(error)}") from None


def _from_file(path: Path, architecture: str | Path | None, download: bool) -> TextPipeline:
    if file_kind(path) != "safetensors":
        raise UserError(f"{path} is not a .safetensors file; fix: name a .safetensors file or a diffusers folder")
    state = read_state_dict(path)
    sdxl = any(name.startswith(SDXL_TEXT) for name in state)
    like = architecture or (SDXL if sdxl else SD15)
    folder = Path(like) if Path(like).is_dir() else from_hub(str(like), download, CONFIGURATION)
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    refuse_another_schedule(path, state, schedule_of(scheduler).log_alpha_bar)
    network, vae, text = read_one_file(path, state, folder, str(like))
    tokenizer = _tokenizer(folder / "tokenizer")
    encoder: TextEncoder = CLIPEncoder(tokenizer, text[0])
    if sdxl:
        tokenizers = tokenizer, _tokenizer(folder / "tokenizer_2")
        encoder = SDXLEncoder(tokenizers, (text[0], text[1]), _zero_null(folder))
    return TextPipeline(network, LatentSpace(vae), encoder, scheduler)


def _zero_null(folder: Path) -> bool:
    """Say whether SDXL's unconditional entry is zero in its pipeline."""
    return bool(_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True))


def _json(path: Path) -> dict[str, Any]:
    found = read_object(path)
    if found is None:
        raise UserError(f"cannot read {path}: there is no JSON object; fix: download it again")
    return found
