"""How families read the parts that text-to-image pipelines share, and fit them together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from bench.core.errors import UserError, first_line
from bench.core.files import read_json, refuse_special_files
from bench.models.backbones.text import TextPipeline

VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",))
"""Files that hold the vocabulary of a tokenizer: of any, of CLIP's, of T5's, of Gemma's."""


def latent_side(pipeline: TextPipeline, resolution: int, patch_size: int | None = None) -> int:
    """Return the side of the latents of images of `resolution` pixels.

    `patch_size` is that of the latents, by default the network's own. Raises UserError unless the images consist
    of whole patches.
    """
    patch = pipeline.latents.factor * (patch_size or pipeline.network.config.patch_size)
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


def read_tokenizer(folder: Path, kind: Any = CLIPTokenizer) -> Any:
    """Read a tokenizer of the class `kind`. Raises UserError."""
    if not folder.is_dir():  # transformers would look for its name on the hub
        raise UserError(
            f"{folder.parent} has no tokenizer: there is no folder {folder.name}; fix: download it again"
        )
    refuse_special_files(folder)
    require_vocabulary(folder)
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many types
        raise UserError(
            f"cannot read the tokenizer {folder}: {first_line(error)}; fix: download it again"
        ) from None


def require_vocabulary(folder: Path) -> None:
    """Raise UserError unless a tokenizer's folder has a vocabulary, of which transformers makes one up if not."""
    if not any((folder / name).is_file() for names in VOCABULARIES for name in names):
        wanted = " nor ".join(" with ".join(names) for names in VOCABULARIES)
        raise UserError(
            f"the tokenizer {folder} has no vocabulary: neither {wanted} is there; fix: download it again"
        )
