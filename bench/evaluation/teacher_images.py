"""The teacher's own images of a protocol's samples, made once, with which metrics "to the teacher" compare."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import digest, folder_sha256, read_object, whole_folder, write_text
from bench.core.made import made_once
from bench.core.progress import Progress
from bench.core.stopping import DivergedError
from bench.evaluation.image_source import generate
from bench.evaluation.png import as_png, batch_of, from_png
from bench.features.batch import ImageBatch
from bench.features.references.make import RealImages
from bench.task.base import PreparedTask
from bench.task.declaration import Baseline

MANIFEST = "manifest.json"
NOT_OF_IMAGES = {
    *("name", "metrics", "reference", "features", "extractors", "neighbours", "smoke", "aggregate"),
    *("covariance_start", "teacher_reference", "text", "plugins"),
}
"""Fields of a protocol that do not change the teacher's images."""
NOT_OF_TEXT_IMAGES = {"compared_at", "small_patches", "prompts", "clip", "diversity", "first_alpha_bar"}
"""The same of its text-to-image part; the prompts themselves are hashed, and not their list's name."""


@dataclass(frozen=True)
class _Part:
    """Consecutive samples of one repetition, which are generated and written together."""

    repetition: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.repetition}-{self.start:06d}"


def teacher_images(prepared: PreparedTask, progress: Progress) -> RealImages:
    """Return the teacher's images of the protocol's samples, in all repetitions; they are made only if missing.

    They are PNG files in the cache, in a folder that is named by all that decides them. Several processes share
    the work, and the same command continues it after a kill. Raises UserError if the protocol's sampler is not one
    of the task's teacher, or if files have changed.
    """
    protocol, sampler = prepared.task.protocol, _sampler(prepared)
    size = prepared.evaluation_batch
    parts = [
        _Part(repetition, start, min(start + size, protocol.samples))
        for repetition in range(protocol.repetitions)
        for start in range(0, protocol.samples, size)
    ]
    folder = prepared.cache / "teacher-images" / f"{prepared.task.name}-{_key(prepared, size)[:12]}"
    if not (folder / MANIFEST).exists():
        _make(prepared, sampler, folder, parts, progress)
    hashes = _finished(folder, parts)
    name = f"images of the teacher by {sampler.name}"
    count = protocol.samples * protocol.repetitions
    return RealImages(name, digest(hashes), count, lambda: _read(folder, parts, hashes))


def _sampler(prepared: PreparedTask) -> Baseline:
    """Return the sampler of the protocol's reference. Raises UserError unless the task has it as it is there."""
    task, reference = prepared.task, prepared.task.protocol.teacher_reference
    if reference is None:
        raise UserError(
            f"protocol {task.protocol.name!r} compares with the teacher's images, and does not say by which "
            "sampler they are made; fix: declare it with teacher_reference=TeacherReference.by(SAMPLER)"
        )
    sampler = task.baselines.get(reference.sampler)
    if sampler is None or digest(sampler.identity()) != digest(reference.settings):
        raise UserError(
            f"protocol {task.protocol.name!r} compares with images by the sampler {reference.sampler!r}, which "
            f"task {task.name!r} has not, or has with other settings; fix: declare one of "
            f"{', '.join(task.baselines)}"
        )
    return sampler


def _key(prepared: PreparedTask, size: int) -> str:
    """Return the digest of all that decides the images: teacher, sampler, seeds, conditions, grey levels."""
    protocol = prepared.task.protocol
    assert protocol.teacher_reference is not None
    own = {key: value for key, value in protocol.as_dict().items() if key not in NOT_OF_IMAGES}
    text: dict[str, Any] = protocol.as_dict()["text"] or {}
    own["text"] = {key: value for key, value in text.items() if key not in NOT_OF_TEXT_IMAGES}
    indices = torch.arange(protocol.samples)
    conditions = list(prepared.prompts_of(indices)) or prepared.conditions(indices.to(this_device())).tolist()
    settings = protocol.teacher_reference.settings
    return digest(["teacher images", 1, prepared.teacher_sha256, settings, own, conditions, size])


def _make(prepared: PreparedTask, sampler: Baseline, folder: Path, parts: list[_Part], progress: Progress) -> None:
    """Make the parts that no other process makes: each begins with its own, and then helps the others."""
    found, state, protocol = prepared.sampled(sampler), PartialState(), prepared.task.protocol
    if found.sha256 != prepared.teacher_sha256:
        raise UserError(
            f"the sampler {sampler.name!r} has weights of its own, and a reference of the teacher is made by the "
            "teacher alone; fix: name another sampler in the protocol's teacher_reference"
        )
    numbered = sorted(enumerate(parts), key=lambda one: (one[0] - state.process_index) % state.num_processes)
    with progress.bar("teacher's images", protocol.samples * protocol.repetitions) as bar:
        for _, part in numbered:
            with made_once(folder / part.name) as missing:
                if missing:
                    batch = generate(
                        found.sampler, found.prepared, protocol, part.repetition, part.start, part.stop
                    )
                    if not batch.finite:
                        raise DivergedError(f"the teacher made images that are not finite ({sampler.name})")
                    _write(batch.images, part.start, folder / part.name)
            bar.advance(part.stop - part.start)


def _write(images: torch.Tensor, start: int, folder: Path) -> None:
    """Write images [B, C, H, W] uint8 as PNG files; the folder appears whole."""
    with whole_folder(folder) as temporary:
        for number, png in enumerate(as_png(images), start):
            (temporary / f"{number:06d}.png").write_bytes(png)


def _finished(folder: Path, parts: list[_Part]) -> dict[str, str]:
    """Return the hash of each part, from the manifest; it is written when all parts are there."""
    path = folder / MANIFEST
    with made_once(path) as missing:
        if missing:
            hashes = {part.name: folder_sha256(folder / part.name) for part in parts}
            write_text(path, json.dumps(hashes, indent=2) + "\n")
        for lock in folder.glob(".[0-9]*.lock"):  # a kill right after the manifest has left them
            with contextlib.suppress(OSError):  # another process was faster; and another user's do no harm
                lock.unlink()
    found = read_object(path)
    if found is None or list(found) != [part.name for part in parts]:
        raise _changed(path)
    return {name: str(sha256) for name, sha256 in found.items()}


def _read(folder: Path, parts: list[_Part], hashes: dict[str, str]) -> Iterator[ImageBatch]:
    for part in parts:
        path = folder / part.name
        if not path.is_dir() or folder_sha256(path) != hashes[part.name]:
            raise _changed(path)
        yield ImageBatch(batch_of(from_png(file.read_bytes()) for file in sorted(path.glob("*.png"))))


def _changed(path: Path) -> UserError:
    return UserError(
        f"{path} is missing, or has changed since the teacher's images were made; "
        f"fix: rm -r {shell_path(path.parent)}, and run again"
    )
