"""Packed latents with captions: one memory-mapped array that training reads in random order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from bench.core.errors import UserError
from bench.data.altered import ENLARGED
from bench.data.packed_folder import SourceRecord, fix_for, open_array, read_manifest, verify
from bench.data.source import read_bytes

LATENTS, CAPTIONS = "latents.npy", "captions.jsonl"


class ImageRule(BaseModel):
    """The rule that turned images into pixels before they were encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int
    crop: str
    rgb: str
    decoder: str
    """Libraries whose versions decide the pixels."""
    batch: int
    """Number of images that were encoded together."""


class Encoding(BaseModel):
    """The encoder that made the latents, and its input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scaling: float
    """The VAE's scaling factor, which the latents have been multiplied by."""
    shift: float = 0.0
    """What was subtracted from the VAE's own latents before that: for SD3 and FLUX.1, 0 for most."""
    vae_sha256: str | None
    """SHA-256 of the VAE's weights; None if the latents came encoded and their VAE is unknown."""
    images: ImageRule | None
    """The rule for the images; None if the latents came encoded."""


class LatentManifest(BaseModel):
    """The manifest of a folder of packed latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    count: int
    shape: tuple[int, int, int]
    """The shape of one latent, [C, h, w]."""
    encoding: Encoding
    altered: dict[str, int] = {}
    """Number of images by what was changed beyond the crop (bench.data.altered), or whose caption is empty."""
    source: SourceRecord
    sha256: dict[str, str]
    """Hashes of latents.npy and captions.jsonl, as `sha256sum` prints them."""

    @model_validator(mode="before")
    @classmethod
    def _from_upsampled(cls, found: Any) -> Any:
        """Read folders of before transparency was counted, which count the enlarged images alone."""
        if isinstance(found, dict) and "upsampled" in found:
            older = {ENLARGED: found["upsampled"]} if found["upsampled"] else {}
            return {key: value for key, value in found.items() if key != "upsampled"} | {"altered": older}
        return found


@dataclass(frozen=True, eq=False)
class PackedLatents:
    """Latents and captions of one folder; the latents stay on disk until they are asked for."""

    folder: Path
    latents: np.ndarray
    """[N, C, h, w] float16, read-only, memory-mapped, times the VAE's scaling factor."""
    captions: tuple[str, ...]
    manifest: LatentManifest

    def __len__(self) -> int:
        return len(self.captions)

    def gather(self, indices: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """Copy the latents at `indices` [B] into a new float32 tensor [B, C, h, w].

        Raises IndexError at an index outside -N ... N - 1.
        """
        # A plain array: np.memmap's own indexing costs more than the copy.
        return torch.from_numpy(np.asarray(self.latents).take(np.asarray(indices), axis=0)).float()

    def verify(self) -> None:
        """Hash both files. Raises UserError if one differs from the manifest."""
        verify(self.folder, self.manifest.sha256)

    def __reduce__(self) -> tuple[Callable[[Path], PackedLatents], tuple[Path]]:
        """Pickle the path of the folder and not 60 GB of latents, for worker processes."""
        return open_latents, (self.folder,)


def open_latents(folder: Path) -> PackedLatents:
    """Open a folder that `pack_latents` or `pack_latent_lmdb` wrote; reads no latent and checks no hash.

    Raises UserError if it is no such folder, or if a file is missing, cut short or of another shape.
    """
    manifest = read_manifest(folder, LatentManifest, "packed latents")
    latents = open_array(folder / LATENTS, np.float16, (manifest.count, *manifest.shape))
    path = folder / CAPTIONS
    try:
        captions = tuple(json.loads(line) for line in read_bytes(path).splitlines())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is missing, cut short or damaged ({error}); {fix_for(folder)}") from None
    if len(captions) != manifest.count or not all(isinstance(caption, str) for caption in captions):
        raise UserError(f"{path} has {len(captions):,} captions, not {manifest.count:,}; {fix_for(folder)}")
    return PackedLatents(folder, latents, captions, manifest)
