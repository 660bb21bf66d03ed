"""Pack captioned images into one array of latents, block by block and resumable at any point."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import file_sha256, write_text
from bench.core.machine import cores
from bench.core.progress import Progress, SilentProgress
from bench.data.altered import EMPTY_CAPTION, Decoded, described_altered
from bench.data.blocks import ArrayFile, Make, fill, pack_once
from bench.data.decoding import CROPS, RGB_RULE, CropRule, decoder
from bench.data.packed_folder import MANIFEST, SourceRecord
from bench.data.text.captioned import Captioned
from bench.data.text.latent_lmdb import LatentLMDB
from bench.data.text.packed import (
    CAPTIONS,
    LATENTS,
    Encoding,
    ImageRule,
    LatentManifest,
    PackedLatents,
    open_latents,
)

Encode = Callable[[Tensor], Tensor]
"""Encodes images [B, 3, R, R] float32 in [-1, 1] on the CPU to latents [B, C, h, w], times the scaling factor."""

CROP_RULES = {
    "edm": "centre square of the shorter side, then Pillow's LANCZOS to the resolution",
    "adm": "halved with BOX while both halves keep the resolution, then BICUBIC, then the centre square (ADM)",
}
LMDB_BLOCK = 256
"""Number of latents in a block, which are copied before they are noted as done: 32 MiB for SDXL."""


def pack_latents(
    source: Captioned[Decoded],
    folder: Path,
    encode: Encode,
    *,
    resolution: int,
    scaling: float,
    vae_sha256: str,
    shift: float = 0.0,
    crop: str = "edm",
    batch: int = 16,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PackedLatents:
    """Encode all images of `source` into `folder` and open it; a finished folder is only opened.

    Images are cropped and resized to `resolution` pixels, smaller ones too, by a rule of CROP_RULES. They are
    encoded in batches of `batch`, always the same images together, in the caller's thread, while `workers`
    threads (by default one per core) decode. After a kill, the next call continues after the last finished batch.
    The bytes depend neither on kills nor on threads if `encode` depends only on its argument: let it take the
    posterior's mode, or derive its noise from the images. `scaling` is the factor that `encode` multiplies by,
    `shift` what it subtracts before that; `vae_sha256` names its weights. Raises UserError if the source is
    damaged, if a latent is not finite in float16, if the disk is too small, or if `folder` holds something else.
    """
    if resolution < 1 or batch < 1:
        raise UserError(f"resolution is {resolution} and batch is {batch}; both must be positive")
    images = ImageRule(resolution=resolution, crop=CROP_RULES[crop], rgb=RGB_RULE, decoder=decoder(), batch=batch)
    return _pack(
        source,
        folder,
        Encoding(scaling=scaling, shift=shift, vae_sha256=vae_sha256, images=images),
        lambda: encoded(encode, np.zeros((1, 3, resolution, resolution), np.uint8)).shape[1:],
        block=batch,
        make=partial(_decode, source, resolution, CROPS[crop]),
        finish=partial(encoded, encode),
        workers=workers or cores(),
        progress=progress or SilentProgress(),
    )


def pack_latent_lmdb(
    source: LatentLMDB,
    folder: Path,
    *,
    scaling: float,
    shift: float = 0.0,
    progress: Progress | None = None,
) -> PackedLatents:
    """Copy the official LMDB's latents into `folder` and open it; a finished folder is only opened.

    `scaling` and `shift` are those of the release's VAE, which its latents already have. This resumes and raises
    UserError as `pack_latents` does.
    """
    return _pack(
        source,
        folder,
        Encoding(scaling=scaling, shift=shift, vae_sha256=None, images=None),
        lambda: source.shape,
        block=LMDB_BLOCK,
        make=lambda start, stop: (np.stack(list(source.read(start, stop))), {}),
        finish=lambda latents: latents,
        workers=1,
        progress=progress or SilentProgress(),
    )


def encoded(encode: Encode, pixels: np.ndarray) -> np.ndarray:
    """Encode uint8 pixels [B, 3, R, R] as float16 latents [B, C, h, w]: 0 becomes -1, 255 becomes 1.

    Raises UserError if `encode` returns another shape.
    """
    with torch.inference_mode():
        latents = encode(torch.from_numpy(pixels).float() / 127.5 - 1)
    if latents.ndim != 4 or len(latents) != len(pixels):
        raise UserError(f"the encoder made {list(latents.shape)} of {len(pixels)} images, not [B, C, h, w]")
    return latents.to("cpu", torch.float16).numpy()


def _decode(
    source: Captioned[Decoded], resolution: int, crop: CropRule, start: int, stop: int
) -> tuple[np.ndarray, Counter[str]]:
    """Read images `start` ... `stop - 1` as uint8 [B, 3, R, R]; count those that were altered, by how."""
    pixels, tally = np.empty((stop - start, 3, resolution, resolution), np.uint8), Counter[str]()
    for decoded, out in zip(source.read(start, stop), pixels, strict=True):
        tally.update(decoded.altered_at(resolution))
        out[:] = np.asarray(crop(decoded.image, resolution)).transpose(2, 0, 1)
    return pixels, tally


def _pack(
    source: Captioned[Any],
    folder: Path,
    encoding: Encoding,
    shape: Callable[[], tuple[int, ...]],
    block: int,
    make: Make,
    finish: Callable[[np.ndarray], np.ndarray],
    workers: int,
    progress: Progress,
) -> PackedLatents:
    """Pack items by `make` and `finish`; `shape` is called only if there is work to do."""

    def checked(first: int, values: np.ndarray) -> np.ndarray:
        latents = finish(values)
        _check_finite(latents, source, first)
        return latents

    def write(partial_folder: Path) -> None:
        progress.note(source.tally())
        channels, height, width = shape()
        file = ArrayFile(
            name=LATENTS,
            what="latents",
            origin=source.path,
            count=len(source),
            shape=(channels, height, width),
            dtype=np.dtype(np.float16),
            block=block,
            decided_by={
                "index": source.index_sha256,
                "encoding": encoding.model_dump(),
                "shape": [channels, height, width],
            },
        )
        altered = fill(partial_folder, file, make, workers, progress, checked)
        altered[EMPTY_CAPTION] = source.empty_captions
        captions = "".join(f"{json.dumps(caption)}\n" for caption in source.captions)
        write_text(partial_folder / CAPTIONS, captions)
        manifest = LatentManifest(
            count=len(source),
            shape=(channels, height, width),
            encoding=encoding,
            altered=+altered,
            source=SourceRecord.of(source),
            sha256={name: file_sha256(partial_folder / name) for name in (LATENTS, CAPTIONS)},
        )
        write_text(partial_folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")

    pack_once(folder, write)
    packed = open_latents(folder)
    _check_same(packed, source, encoding)
    if note := described_altered(packed.manifest.altered, len(packed), "latents"):
        progress.note(note)
    return packed


def _check_finite(latents: np.ndarray, source: Captioned[Any], first: int) -> None:
    """Raise UserError if a latent is not finite in float16, as from SDXL's first VAE in half precision."""
    bad = np.flatnonzero(~np.isfinite(latents).all(axis=(1, 2, 3)))
    if len(bad):
        raise UserError(
            f"the latent of {source.name(first + int(bad[0]))} is not finite in float16; "
            "fix: encode in float32 or bfloat16, or leave out the image"
        )


def _check_same(packed: PackedLatents, source: Captioned[Any], encoding: Encoding) -> None:
    """Raise UserError if an existing folder was packed from another source or with another encoding."""
    manifest = packed.manifest
    for what, found, wanted in (
        ("source", manifest.source.index_sha256, source.index_sha256),
        ("scaling", manifest.encoding.scaling, encoding.scaling),
        ("shift", manifest.encoding.shift, encoding.shift),
        ("VAE", manifest.encoding.vae_sha256, encoding.vae_sha256),
        ("resolution", _resolution(manifest.encoding), _resolution(encoding)),
    ):
        if found != wanted:
            raise UserError(
                f"{packed.folder} holds latents of {manifest.source.format} {manifest.source.name} whose {what} "
                f"is {found}, not {wanted}; fix: give another --cache, or, to encode all images again, "
                f"rm -r {shell_path(packed.folder)}"
            )


def _resolution(encoding: Encoding) -> int | None:
    return encoding.images.resolution if encoding.images else None
