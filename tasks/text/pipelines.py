"""Text-to-image pipelines read from the hub's cache, a diffusers folder or one file, part by part."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_log
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_log

from tasks.errors import UserError, first_line, listed
from tasks.schedules import VPSchedule
from tasks.text.denoiser import TextDenoiser
from tasks.text.encoders import CLIPEncoder, SDXLEncoder, TextEncoder
from tasks.text.latents import LatentSpace
from tasks.weights.state_dicts import file_kind, require

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
CONFIGURATION = ["*.json", "*/*.json", "*/*.txt"]
"""The files of a pipeline that hold no weights."""
WEIGHTS = [f"{stem}{part}.safetensors" for stem in ("diffusion_pytorch_model", "model") for part in ("", "-0*")]
"""The files that a network's weights are read from, whole or in parts; no other is, for hashes name these."""
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
PIPELINE_FILES = [
    "model_index.json",
    *(f"{part}/*.{suffix}" for part in PARTS for suffix in ("json", "txt")),
    *(f"{part}/{name}" for part in PARTS for name in WEIGHTS),
]
"""The files of a pipeline in float32, without those for other libraries and precisions."""
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TINY_VAE_FILES = ["config.json", *WEIGHTS]


@dataclass(frozen=True)
class TextPipeline:
    """The parts of a text-to-image model, on the CPU in float32, in evaluation mode."""

    unet: UNet2DConditionModel
    latents: LatentSpace
    encoder: TextEncoder
    scheduler: Mapping[str, Any]
    """The configuration of the scheduler that the model was published with."""

    @property
    def sdxl(self) -> bool:
        """Whether its UNet is told a pooled embedding and the image's size."""
        return bool(self.encoder.layout.pooled)

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that it was made for."""
        side: int = self.unet.config.sample_size * self.latents.factor
        return side

    def denoiser(self, resolution: int | None = None) -> TextDenoiser:
        """Its UNet as a denoiser of images of `resolution`, its own if none is named.

        Raises UserError if its noise schedule is not a scaled-linear one with epsilon or v prediction.
        """
        schedule = schedule_of(self.scheduler)
        side = (resolution or self.resolution) if self.sdxl else None
        return TextDenoiser(self.unet, schedule, self.encoder.layout, side)


def schedule_of(scheduler: Mapping[str, Any]) -> VPSchedule:
    """The noise schedule of a diffusers scheduler's configuration. Raises UserError if it is of another kind."""
    missing = {"beta_schedule": None, "trained_betas": None, "rescale_betas_zero_snr": False}
    if absent := [key for key in ("beta_start", "beta_end", "num_train_timesteps") if key not in scheduler]:
        raise UserError(f"the scheduler's configuration has no {listed(absent)}; fix: download it again")
    found = missing | dict(scheduler)
    for key, known in (missing | {"beta_schedule": "scaled_linear"}).items():
        if found[key] != known:
            raise UserError(f"the scheduler's {key} is {found[key]!r}; only {known!r} is known here")
    predictions: dict[str, Literal["epsilon", "v"]] = {"epsilon": "epsilon", "v_prediction": "v"}
    prediction = found.get("prediction_type", "epsilon")
    if prediction not in predictions:
        raise UserError(f"the scheduler's prediction_type is {prediction!r}; known: {', '.join(predictions)}")
    return VPSchedule(
        predictions[prediction],
        float(scheduler["beta_start"]),
        float(scheduler["beta_end"]),
        int(scheduler["num_train_timesteps"]),
    )


def load_pipeline(
    source: str | Path,
    download: bool = False,
    architecture: str | Path | None = None,
) -> TextPipeline:
    """Read a pipeline: a folder in diffusers' format, one .safetensors file, or a model on the hub ("owner/name").

    Nothing is downloaded without `download`: a hub's model must then be in its cache. One file holds no
    configuration; it is that of `architecture` (a folder or a hub's model without its weights), SD1.5 or SDXL
    if none is named. Raises UserError that names the broken part.
    """
    path = Path(source)
    if path.is_file():
        return _from_file(path, architecture, download)
    if not path.is_dir() and str(source).count("/") != 1:
        require(path)
    folder = path if path.is_dir() else from_hub(str(source), download, PIPELINE_FILES)
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{folder} has no model_index.json: not a pipeline in diffusers' folder format")
    unet = load_part(UNet2DConditionModel, folder / "unet")
    return TextPipeline(
        unet,
        LatentSpace(load_part(AutoencoderKL, folder / "vae")),
        _encoder(folder, unet.config.addition_embed_type == "text_time"),
        _json(folder / "scheduler" / "scheduler_config.json"),
    )


def load_tiny_vae(source: str | Path, download: bool = False) -> LatentSpace:
    """Read a tiny VAE, a folder or a hub's model ("madebyollin/taesdxl"), as another latent space of a model."""
    path = Path(source)
    folder = path if path.is_dir() else from_hub(str(source), download, TINY_VAE_FILES)
    return LatentSpace(load_part(AutoencoderTiny, folder))


def named_folder(named: Path, download: bool, files: list[str]) -> Path:
    """Return what a user named: a folder or file that is here, or a hub's model ("owner/name") as `from_hub`.

    Raises UserError if it is neither, with the nearest names.
    """
    path = named.expanduser()
    if path.exists():
        return path.resolve()
    if not HUB_NAME.fullmatch(str(named)) or path.parent.is_dir():
        require(path)
    return from_hub(str(named), download, files)


def from_hub(name: str, download: bool, files: list[str]) -> Path:
    """Return the folder of a hub's model in the cache, with `files` (patterns) downloaded if that is allowed.

    Raises UserError that says how to get it.
    """
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=files))
    except Exception as error:  # of huggingface_hub, requests and httpx
        if download:
            raise UserError(f"cannot download {name}: {first_line(error)}") from None
        raise UserError(
            f"{name} is not in the hub's cache, and nothing is downloaded unasked; fix: the same command with "
            "--download, or fill the cache ($HF_HOME) from a machine that has it"
        ) from None


def load_part(kind: Any, folder: Path, fix: str = "download it again") -> Any:
    """Read one network of a pipeline, float32, frozen. Raises UserError if WEIGHTS or some of them are missing.

    Libraries only warn of missing weights, and go on with random ones.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; fix: {fix}")
    if not any(any(folder.glob(name)) for name in WEIGHTS):
        held = sorted(file.name for file in folder.iterdir())
        raise UserError(
            f"{folder} has neither {WEIGHTS[0]} nor {WEIGHTS[2]}, only {listed(held)}: pickles and variants in "
            f"half precision are not read; fix: {fix}"
        )
    try:
        with _quiet():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
    except Exception as error:  # diffusers, transformers, safetensors, torch and json each have their own
        raise UserError(f"cannot read {folder}: {first_line(error)}; fix: {fix}") from None
    wrong = [*report["missing_keys"], *report["mismatched_keys"]]
    if wrong:
        raise UserError(f"{folder}: weights and config.json do not fit: {listed(wrong)} missing or misshapen")
    return network.eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, one for each small part, off the user's terminal."""
    shown = [library for library in (diffusers_log, transformers_log) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _encoder(folder: Path, sdxl: bool) -> TextEncoder:
    one = _tokenizer(folder / "tokenizer"), load_part(CLIPTextModel, folder / "text_encoder")
    if not sdxl:
        return CLIPEncoder(*one)
    second = load_part(CLIPTextModelWithProjection, folder / "text_encoder_2")
    two = _tokenizer(folder / "tokenizer_2"), second
    zero_null = bool(_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True))
    return SDXLEncoder((one[0], two[0]), (one[1], two[1]), zero_null)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers have many kinds
        raise UserError(f"cannot read the tokenizer {folder}: {first_line(error)}") from None


def _from_file(path: Path, architecture: str | Path | None, download: bool) -> TextPipeline:
    if file_kind(path) != "safetensors":
        raise UserError(f"{path} is not a .safetensors file; other formats of one file are not read")
    try:
        with safe_open(path, "pt") as file:
            sdxl = any(name.startswith("conditioner.") for name in file.keys())  # noqa: SIM118 (not a dictionary)
    except SafetensorError as error:
        raise UserError(f"{path} is cut short or damaged ({error}); fix: download it again") from None
    like = architecture or (SDXL if sdxl else SD15)
    folder = Path(like) if Path(like).is_dir() else from_hub(str(like), download, CONFIGURATION)
    kind = StableDiffusionXLPipeline if sdxl else StableDiffusionPipeline
    parts = {} if sdxl else {"safety_checker": None, "requires_safety_checker": False}
    try:
        # Given a folder diffusers looks nowhere else; without one it downloads even if told not to.
        with _quiet():
            pipeline = kind.from_single_file(str(path), config=str(folder), local_files_only=True, **parts)
    except Exception as error:  # diffusers, transformers, safetensors and torch each have their own
        raise UserError(f"cannot read {path} as a pipeline like {like}: {first_line(error)}") from None
    for part in (pipeline.unet, pipeline.text_encoder, *([pipeline.text_encoder_2] if sdxl else [])):
        part.float().eval().requires_grad_(False)
    encoder: TextEncoder = CLIPEncoder(pipeline.tokenizer, pipeline.text_encoder)
    if sdxl:
        encoder = SDXLEncoder(
            (pipeline.tokenizer, pipeline.tokenizer_2),
            (pipeline.text_encoder, pipeline.text_encoder_2),
            pipeline.config.force_zeros_for_empty_prompt,
        )
    return TextPipeline(pipeline.unet, LatentSpace(pipeline.vae), encoder, dict(pipeline.scheduler.config))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({first_line(error)}); fix: download it again") from None
    return dict(value)
