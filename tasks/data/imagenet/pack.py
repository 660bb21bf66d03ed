"""Pack ImageNet into one array of 64x64 images: in parallel, and resumable at any point."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tasks.data.imagenet.crops import CROPS, RGB_RULE, decoder
from tasks.data.imagenet.detect import open_source
from tasks.data.imagenet.packed import (
    IMAGE_SHAPE,
    IMAGES,
    LABELS,
    MANIFEST,
    RESOLUTION,
    Manifest,
    PackedImages,
    SourceRecord,
    open_packed,
)
from tasks.data.imagenet.source import Source
from tasks.errors import UserError, unknown
from tasks.files import canonical_json, digest, file_sha256, human_size, made_once, write_text
from tasks.progress import Progress, SilentProgress

BLOCK = 512
"""Images that one thread decodes before they are written and noted as done: 6 MiB, seconds of work."""
PLAN, DONE = "plan.json", "blocks.txt"
DONE_LINE = re.compile(r"(\d+) (\d+)\n")
"""Block and number of images cropped in it; a line without its end was cut off by a kill."""


class Block(NamedTuple):
    """Consecutive images, decoded."""

    number: int
    images: np.ndarray
    """[B, 3, 64, 64] uint8."""
    cropped: int


def pack(
    path: Path,
    folder: Path,
    crop: str = "edm",
    classes: int = 1000,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PackedImages:
    """Pack ImageNet at `path`, in any of its forms, into `folder`, and open it; a finished one is only opened.

    `crop` ("edm" or "adm") is used for images that are not 64x64 already. Images keep the source's order;
    neither it nor their bytes depend on `workers`, the number of threads (by default one per core: Pillow
    works outside Python's lock). Killed and called again, it goes on after the last finished block.
    Raises UserError if the source is damaged or incomplete, if the disk is too small, or if `folder` holds
    something else.
    """
    if crop not in CROPS:
        raise unknown("crop rule", crop, CROPS)
    progress = progress or SilentProgress()
    progress.note(f"listing the images in {path}")
    with open_source(path) as source:
        return pack_source(source, folder, crop, classes, workers or _cores(), progress)


def pack_source(
    source: Source, folder: Path, crop: str, classes: int, workers: int, progress: Progress
) -> PackedImages:
    """Do what `pack` says for an open source."""
    check_labels(source, classes)
    try:
        with made_once(folder) as missing:
            if missing:
                partial = folder.with_name(f".{folder.name}.partial")
                _fill(partial, source, crop, classes, workers, progress)
                partial.rename(folder)
                for name in (PLAN, DONE):
                    (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} could not be written: {error.strerror}; "
            "mend: make room or permit it, and run again: it goes on from here"
        ) from error
    packed = open_packed(folder)
    held = packed.manifest
    if held.source.index_sha256 != source.index_sha256 or held.crop not in (crop, "none"):
        raise UserError(
            f"{folder} holds images packed from {held.source.format} {held.source.name} with the crop rule "
            f"{held.crop}, not from {source.format} {source.path.name} with {crop}; "
            "mend: delete it, or name another folder"
        )
    return packed


def check_labels(source: Source, classes: int) -> None:
    """Raise UserError if there are no images, or if the labels are not of `classes` classes."""
    if not len(source):
        raise UserError(f"{source.path} holds no images; mend: name a complete copy of the data set")
    if source.class_names is not None and len(source.class_names) != classes:
        raise UserError(
            f"{source.path} has {len(source.class_names)} classes, not {classes}; labels are places in their "
            "order, so none may be missing; mend: name the folder or file of all classes"
        )
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"{source.name(first)} has the label {source.labels[first]}, not one of 0 ... {classes - 1} "
            f"({len(wrong)} images have such labels); mend: name the labelled training set"
        )


def _fill(partial: Path, source: Source, crop: str, classes: int, workers: int, progress: Progress) -> None:
    """Write all three files into `partial`, where an earlier call may have begun."""
    done = _begun(partial, source, crop, progress)
    todo = [number for number in range(-(-len(source) // BLOCK)) if number not in done]
    _check_space(partial, len(todo))
    np.save(partial / LABELS, source.labels)
    completed = len(source) - sum(_size(source, number) for number in todo)
    with (
        progress.bar("pack images", len(source), completed) as bar,
        (partial / IMAGES).open("r+b") as images,
        (partial / DONE).open("a") as finished,
        contextlib.closing(_decoded(source, crop, todo, workers)) as blocks,
    ):
        header = os.fstat(images.fileno()).st_size - len(source) * _bytes(1)
        for block in blocks:
            images.seek(header + block.number * _bytes(BLOCK))
            images.write(block.images.data)
            _flush(images)
            finished.write(f"{block.number} {block.cropped}\n")
            _flush(finished)
            done[block.number] = block.cropped
            bar.advance(len(block.images))
    cropped = sum(done.values())
    manifest = Manifest(
        count=len(source),
        resolution=RESOLUTION,
        crop=crop if cropped else "none",
        cropped=cropped,
        rgb=RGB_RULE,
        decoder=decoder(),
        class_names=None if source.class_names is None else list(source.class_names),
        class_counts=np.bincount(source.labels, minlength=classes).tolist(),
        source=SourceRecord(
            format=source.format,
            name=source.path.name,
            bytes=source.path.stat().st_size if source.path.is_file() else None,
            index_sha256=source.index_sha256,
        ),
        sha256={name: file_sha256(partial / name) for name in (IMAGES, LABELS)},
    )
    write_text(partial / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def _begun(partial: Path, source: Source, crop: str, progress: Progress) -> dict[int, int]:
    """Return the blocks done by an earlier call, with how many images of each were cropped; begin if none.

    What an earlier call did counts only if its source, crop rule and decoder were the same.
    """
    plan = canonical_json(
        {
            "index": source.index_sha256,
            "labels": digest(source.labels.tolist()),
            "count": len(source),
            "crop": crop,
            "decoder": decoder(),
            "block": BLOCK,
        }
    )
    if (partial / PLAN).is_file() and (partial / PLAN).read_text(encoding="utf-8") == plan:
        lines = DONE_LINE.findall((partial / DONE).read_text(encoding="utf-8"))
        write_text(partial / DONE, "".join(f"{number} {cropped}\n" for number, cropped in lines))
        return {int(number): int(cropped) for number, cropped in lines}
    if partial.exists():
        progress.note("starting again: the source, the crop rule or Pillow is not what it was")
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    np.lib.format.open_memmap(partial / IMAGES, mode="w+", dtype=np.uint8, shape=(len(source), *IMAGE_SHAPE))
    write_text(partial / DONE, "")
    write_text(partial / PLAN, plan)
    return {}


def _flush(file: IO[Any]) -> None:
    """Bring what was written to the disk: a block is noted as done only when a power cut cannot undo it."""
    file.flush()
    os.fsync(file.fileno())


def _check_space(partial: Path, blocks: int) -> None:
    """Raise UserError if the disk cannot hold `blocks` more blocks; the file of images is sparse until then."""
    needed, free = blocks * _bytes(BLOCK), shutil.disk_usage(partial).free
    if needed > free:
        raise UserError(
            f"the packed images need {human_size(needed)} more, but the disk of {partial.parent} has "
            f"{human_size(free)} free; mend: make room, or name a folder on another disk"
        )


def _decoded(source: Source, crop: str, numbers: list[int], workers: int) -> Generator[Block, None, None]:
    """Decode blocks in `workers` threads; yield each as it is ready, with few waiting in memory."""
    remaining = iter(numbers)
    pool = ThreadPoolExecutor(workers)
    try:
        running: set[Future[Block]] = {
            pool.submit(_decode, source, crop, number) for number in itertools.islice(remaining, workers + 1)
        }
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {
                pool.submit(_decode, source, crop, number) for number in itertools.islice(remaining, len(ready))
            }
            # What is whole first: a failure must not cost a block that was ready beside it.
            for future in sorted(ready, key=lambda future: future.exception() is not None):
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(source: Source, crop: str, number: int) -> Block:
    """Read and crop one block. Raises UserError if an image is damaged or its file has gone."""
    size, cropped = _size(source, number), 0
    images = np.empty((size, *IMAGE_SHAPE), np.uint8)
    start = number * BLOCK
    try:
        for image, out in zip(source.read(start, start + size), images, strict=True):
            if image.size != (RESOLUTION, RESOLUTION):
                image = CROPS[crop](image, RESOLUTION)
                cropped += 1
            out[:] = np.asarray(image).transpose(2, 0, 1)
    except OSError as error:
        where = error.filename or source.path
        raise UserError(f"{where} cannot be read: {error.strerror}; mend: restore it and run again") from error
    return Block(number, images, cropped)


def _size(source: Source, number: int) -> int:
    """Images in block `number`: the last one may be shorter."""
    return min(BLOCK, len(source) - number * BLOCK)


def _bytes(images: int) -> int:
    """Bytes of so many packed images."""
    return images * IMAGE_SHAPE[0] * IMAGE_SHAPE[1] * IMAGE_SHAPE[2]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1
