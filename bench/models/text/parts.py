"""A text-to-image pipeline in memory, and how families read the parts that pipelines share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPTokenizer

from bench.core.errors import UserError, first_line
from bench.core.files import read_object, refuse_special_files
from bench.models.backbones.text import TextFamily
from bench.models.text.encoders import TextEncoder
from bench.models.text.hub import from_hub
from bench.models.text.latents import LatentSpace

CONFIGURATION = ["*.json", "*/*.json", "*/*.txt", "*/*.model"]
"""The files of a pipeline that hold no weights."""


@dataclass(frozen=True)
class TextPipeline:
    """The parts of a text-to-image model, on the CPU in float32, in evaluation mode."""

    family: type[TextFamily]
    network: Any
    """The denoiser's."""
    latents: LatentSpace
    encoder: TextEncoder
    scheduler: Mapping[str, Any]
    """The configuration of the scheduler that the model was published with."""

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that it was made for."""
        return self.family.own_resolution(self)

    def denoiser(self, resolution: int | None = None) -> TextFamily:
        """Return its network as a denoiser of images of `resolution`, by default its own. Raises UserError."""
        return self.family.from_pipeline(self, resolution or self.resolution)


@dataclass(frozen=True)
class PipelineFile:
    """A pipeline in one file, which holds tensors and no configuration."""

    path: Path
    state: Mapping[str, Tensor]
    architecture: str | Path | None
    """Whose configuration it has: a folder, or a hub's model; by default that of the published model."""
    download: bool
    """Whether the configuration may be downloaded."""

    def configuration(self, published: str) -> tuple[str, Path]:
        """Return the name of its architecture, by default `published`, and the folder with its configuration."""
        named = str(self.architecture or published)
        return named, Path(named) if Path(named).is_dir() else from_hub(named, self.download, CONFIGURATION)


def latent_side(pipeline: TextPipeline, resolution: int) -> int:
    """Return the side of the latents of images of `resolution` pixels.

    Raises UserError unless they consist of whole patches.
    """
    patch = pipeline.latents.factor * pipeline.network.config.patch_size
    if resolution % patch:
        raise UserError(
            f"images of {resolution} pixels do not consist of whole patches of {patch}; "
            f"fix: name a multiple of {patch}"
        )
    return resolution // pipeline.latents.factor


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Raise a UserError instead of the ValueError of a denoiser whose network and encoder do not fit."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"the pipeline's parts do not fit: {error}; fix: download it again") from None


def read_scheduler(folder: Path) -> dict[str, Any]:
    """Read the scheduler's configuration of a pipeline's folder. Raises UserError."""
    return read_json(folder / "scheduler" / "scheduler_config.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a pipeline. Raises UserError if there is none."""
    found = read_object(path)
    if found is None:
        raise UserError(f"cannot read {path}: there is no JSON object; fix: download it again")
    return found


def read_tokenizer(folder: Path, kind: Any = CLIPTokenizer) -> Any:
    """Read a tokenizer of the class `kind`. Raises UserError."""
    refuse_special_files(folder)
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many types
        raise UserError(f"cannot read the tokenizer {folder}: {first_line(error)}") from None
