"""Single images of a result by their places: those that it kept, or made again from their seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import UserError
from bench.core.run_folder import KEPT
from bench.runs.evidence.sheets import Prepare, can_make_images, run_of_record, sampler_of_record
from bench.runs.record import Record
from bench.runs.repeat import command_of

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue

Place = tuple[int, int]
"""Repetition and index of an image."""


def images_of(
    record: Record,
    path: Path,
    places: Sequence[Place],
    catalogue: Catalogue,
    prepare: Prepare,
    say: Callable[[str], None],
) -> tuple[list[np.ndarray], str]:
    """Return images [H, W, C] uint8 by their places, and a phrase that says where they come from.

    They are those that the evaluation kept; else the task is prepared and they are made again, and `say` reports
    it. Raises UserError if there are no kept images, and no student or sampler on disk.
    """
    from bench.evaluation.kept import kept_pixels

    repetitions = {repetition for repetition, _ in places}
    found = {number: _kept(record, path, number, say) for number in repetitions}
    archives = {number: archive for number, archive in found.items() if archive is not None}
    if archives.keys() == repetitions:
        samples = int(record.protocol["samples"])
        return [
            kept_pixels(archives[r], r * samples + index) for r, index in places
        ], "as the evaluation kept them"
    if not can_make_images(record, path):
        raise UserError(
            f"{record.run_id} has no kept images, and its student is not beside it; "
            f"fix: {command_of(record)} --keep images"
        )
    from bench.evaluation.image_source import SampledImages

    say(f"{record.run_id} has no kept images; preparing {record.task} and making {len(places)} from their seeds")
    sampler, prepared = sampler_of_record(record, run_of_record(path), catalogue, prepare(record))
    source = SampledImages(sampler, prepared)
    made = [source.batch(repetition, index, index + 1).images[0] for repetition, index in places]
    return [image.permute(1, 2, 0).numpy() for image in made], "made again from their seeds"


def _kept(record: Record, path: Path, repetition: int, say: Callable[[str], None]) -> Path | None:
    """Return the archive of a repetition's images if it is that of a record, and unchanged."""
    from bench.evaluation.kept import archive_of

    folder = run_of_record(path) / KEPT
    subject = record.checkpoint.sha256 if record.checkpoint else ""
    return archive_of(folder, repetition, subject, record.protocol, say)
