"""Pack ImageNet into one array of 64x64 images, in parallel and resumable at any point."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from bench.core.errors import UserError, unknown
from bench.core.escape import shell_path
from bench.core.files import digest, file_sha256, write_text
from bench.core.machine import cores
from bench.core.progress import Progress, SilentProgress
from bench.data.altered import described_altered
from bench.data.blocks import ArrayFile, fill, pack_once
from bench.data.decoding import CROPS, RGB_RULE, decoder
from bench.data.imagenet.detect import open_source
from bench.data.imagenet.packed import (
    IMAGE_SHAPE,
    IMAGES,
    LABELS,
    RESOLUTION,
    Manifest,
    PackedImages,
    open_packed,
)
from bench.data.imagenet.source import Source
from bench.data.packed_folder import MANIFEST, SourceRecord

CROPPED = "cropped"
"""The key of the images of another resolution in the tallies of blocks."""
BLOCK = 512
"""Number of images in a block, which one thread decodes before it is written: 6 MiB, seconds of work."""


def pack(
    path: Path,
    folder: Path,
    crop: str = "edm",
    classes: int = 1000,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PackedImages:
    """Pack ImageNet at `path`, in any of its forms, into `folder`, and open it; a finished folder is only opened.

    `crop` ("edm" or "adm") is used for images that are not 64x64 already. Images keep the source's order;
    neither the order nor their bytes depend on `workers`, the number of threads (by default one per core:
    Pillow works outside Python's lock). After a kill, the next call continues after the last finished block.
    Raises UserError if the source is damaged or incomplete, if the disk is too small, or if `folder` holds
    something else.
    """
    if crop not in CROPS:
        raise unknown("crop rule", crop, CROPS)
    progress = progress or SilentProgress()
    progress.note(f"listing the images in {path}")
    with open_source(path) as source:
        progress.note(source.tally())
        return pack_source(source, folder, crop, classes, workers or cores(), progress)


def pack_source(
    source: Source, folder: Path, crop: str, classes: int, workers: int, progress: Progress
) -> PackedImages:
    """Pack an open source, as `pack` describes."""
    check_labels(source, classes)
    pack_once(folder, lambda partial: _fill(partial, source, crop, classes, workers, progress))
    packed = open_packed(folder)
    manifest = packed.manifest
    if manifest.source.index_sha256 != source.index_sha256 or manifest.crop not in (crop, "none"):
        raise UserError(
            f"{folder} holds images packed from {manifest.source.format} {manifest.source.name} with the crop "
            f"rule {manifest.crop}, not from {source.format} {source.path.name} with {crop}; "
            f"fix: give another --cache, or, to pack again, rm -r {shell_path(folder)}"
        )
    if note := described_altered(manifest.altered, manifest.count, "images"):
        progress.note(note)
    return packed


def check_labels(source: Source, classes: int) -> None:
    """Raise UserError if there are no images or if the labels do not fit `classes` classes."""
    if not len(source):
        raise UserError(f"{source.path} holds no images; fix: name a complete copy of the data set")
    if source.class_names is not None and len(source.class_names) != classes:
        raise UserError(
            f"{source.path} has {len(source.class_names)} classes, not {classes}; labels are "
            "positions in their order, so none may be missing; fix: name the folder or file of all classes"
        )
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"{source.name(first)} has the label {source.labels[first]}, not one of 0 ... {classes - 1} "
            f"({len(wrong)} images have such labels); fix: name the labelled training set"
        )


def _fill(partial: Path, source: Source, crop: str, classes: int, workers: int, progress: Progress) -> None:
    """Write all three files into `partial`, continuing an earlier call if there was one."""
    file = ArrayFile(
        name=IMAGES,
        what="images",
        origin=source.path,
        count=len(source),
        shape=IMAGE_SHAPE,
        dtype=np.dtype(np.uint8),
        block=BLOCK,
        decided_by={
            "index": source.index_sha256,
            "labels": digest(source.labels.tolist()),
            "crop": crop,
            "decoder": decoder(),
        },
    )
    tally = fill(partial, file, lambda start, stop: _decode(source, crop, start, stop), workers, progress)
    np.save(partial / LABELS, source.labels)
    manifest = Manifest(
        count=len(source),
        resolution=RESOLUTION,
        crop=crop if tally[CROPPED] else "none",
        cropped=tally.pop(CROPPED, 0),
        altered=+tally,
        rgb=RGB_RULE,
        decoder=decoder(),
        class_names=None if source.class_names is None else list(source.class_names),
        class_counts=np.bincount(source.labels, minlength=classes).tolist(),
        source=SourceRecord.of(source),
        sha256={name: file_sha256(partial / name) for name in (IMAGES, LABELS)},
    )
    write_text(partial / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def _decode(source: Source, crop: str, start: int, stop: int) -> tuple[np.ndarray, Counter[str]]:
    """Read and crop images `start` ... `stop - 1`; count those that had another resolution or were altered.

    Raises UserError if an image is damaged.
    """
    images, tally = np.empty((stop - start, *IMAGE_SHAPE), np.uint8), Counter[str]()
    for decoded, out in zip(source.read(start, stop), images, strict=True):
        image = decoded.image
        tally.update(decoded.altered_at(RESOLUTION))
        if image.size != (RESOLUTION, RESOLUTION):
            tally[CROPPED] += 1
            image = CROPS[crop](image, RESOLUTION)
        out[:] = np.asarray(image).transpose(2, 0, 1)
    return images, tally
