"""The images of a study: two runs' images of the same prompts, made from the same noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import UserError, listed, nearest
from bench.core.files import file_sha256, path_sha256
from bench.core.run_folder import PLAN, RECORD, STUDENT, go_on
from bench.evaluation.sheet import read_sheet
from bench.runs.evidence.files import evidence_of
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.task.variations import names_sampler

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue
    from bench.task.base import PreparedTask, Sampled


@dataclass(frozen=True)
class Subject:
    """A run that a study compares."""

    path: Path
    """Its record's file."""
    record: Record
    record_sha256: str


@dataclass(frozen=True, eq=False)
class Shown:
    """One run's images."""

    images: np.ndarray
    """[n, H, W, C] uint8; C is 1 or 3."""
    prompts: tuple[str, ...]
    """Prompt or class of each image; empty where conditions have no words."""
    samples: tuple[int, ...]
    """Index of each image's sample in the protocol."""
    noise: str
    """Digest of all that decides the images' noise and conditions."""


def find_subject(run: Path, runs: Path) -> Subject:
    """Return the run that a path names: its folder, its record, or a folder's name in RUNS/TASK or its beginning.

    Raises UserError with the nearest names if there is none, or if it has no result.
    """
    named = [run] if run.exists() else _called(str(run), runs)
    if not named:
        known = [folder.name for folder in _called("", runs)]
        close = listed(nearest(str(run), known) or known, between=" or ")
        raise UserError(
            f"there is no run {run}, neither as a path nor in {runs}, which has {close}; "
            "fix: name one, see bench status"
        )
    if len(named) > 1:
        found = listed(f"{folder.parent.name}/{folder.name}" for folder in named)
        raise UserError(f"{run} is the beginning of {found}; fix: write more of it, or give the run's folder")
    path = named[0] / RECORD if named[0].is_dir() else named[0]
    if not path.is_file():
        raise UserError(f"{named[0]} has no result yet: it contains no {RECORD}; fix: {go_on(named[0])}")
    record = read_record(path)
    if record.checkpoint is None:
        raise UserError(f"the run in {path} failed and has no images; fix: give a finished run")
    return Subject(path, record, file_sha256(path))


def _called(name: str, runs: Path) -> list[Path]:
    """Return the folders of runs with this name, or else those whose names begin with it."""
    folders = sorted(path.parent for path in runs.glob(f"*/*/{PLAN}"))
    exact = [folder for folder in folders if folder.name == name]
    return exact or [folder for folder in folders if folder.name.startswith(name)]


def from_sheets(subjects: Sequence[Subject], count: int) -> list[Shown]:
    """Return the first `count` images of the runs' sample sheets.

    Raises UserError if a run has no sheet, or too small a one, or if the sheets have other noise or conditions.
    """
    found = []
    for subject in subjects:
        path = evidence_of(subject.path).sheet
        if path is None:
            raise UserError(
                f"there is no sample sheet beside {subject.path}; fix: leave out --sheets, so that images are made"
            )
        sheet = read_sheet(path)
        if len(sheet.images) < count:
            raise UserError(
                f"{path} has {len(sheet.images)} images, not {count}; fix: --prompts {len(sheet.images)}, or "
                "leave out --sheets, so that images are made"
            )
        samples = tuple(range(count))
        found.append(Shown(sheet.images[:count], sheet.captions[:count], samples, sheet.noise))
    return found


def from_students(
    catalogue: Catalogue, prepared: PreparedTask, subjects: Sequence[Subject], count: int
) -> list[Shown]:
    """Generate the runs' images under the prepared task's protocol.

    Raises UserError if the weights are not those of the record, or if the protocol has fewer samples.
    """
    samples = chosen_samples(prepared, count)
    return [_generated(_sampled(catalogue, prepared, subject), subject, samples) for subject in subjects]


def chosen_samples(prepared: PreparedTask, count: int) -> list[int]:
    """Return `count` samples of the protocol: first those of distinct prompts, then further ones of each prompt.

    Raises UserError if the protocol has fewer samples.
    """
    import torch

    protocol = prepared.task.protocol
    if count > protocol.samples:
        raise UserError(
            f"protocol {protocol.name!r} of task {prepared.task.name!r} has {protocol.samples} samples, not "
            f"{count}; fix: --prompts {protocol.samples}"
        )
    prompts = prepared.prompts_of(torch.arange(protocol.samples))
    before: Counter[str] = Counter()
    ranked = []
    for sample, prompt in enumerate(prompts or [""] * protocol.samples):
        ranked.append((before[prompt], sample))
        before[prompt] += 1
    return sorted(sample for _, sample in sorted(ranked)[:count])


def _sampled(catalogue: Catalogue, prepared: PreparedTask, subject: Subject) -> Sampled:
    """Return the sampler of a run's student, or of the teacher that it samples."""
    from bench.runs.students.saved import loaded_student, sampler_of
    from bench.task.base import Sampled

    record, folder = subject.record, subject.path.parent
    student = folder / STUDENT
    if record.kind == "method":
        if not student.is_dir():
            raise UserError(
                f"there is no student beside {subject.path}, so it can make no images; fix: give the folder of a "
                "run of this machine, or --sheets for the images of its sample sheet"
            )
        sha256 = path_sha256(student)
        denoiser, indices = loaded_student(prepared, student)
        found = Sampled(prepared, sampler_of(catalogue, folder, denoiser, indices), sha256)
    elif names_sampler(prepared.task.baselines, record.method.name):
        found = prepared.sampled(prepared.task.baseline(record.method.name))
    else:
        raise UserError(
            f"{record.run_id} is of published weights, which its folder does not contain; "
            "fix: --sheets, for the images of its sample sheet"
        )
    if record.checkpoint is None or found.sha256 != record.checkpoint.sha256:
        raise UserError(
            f"the weights of {record.run_id} are not those that its record is of; "
            "fix: put those weights back, or give --sheets for the images of its sample sheet"
        )
    return found


def _generated(found: Sampled, subject: Subject, samples: Sequence[int]) -> Shown:
    """Generate these samples, those that follow each other together."""
    import torch

    from bench.evaluation.image_source import generate
    from bench.evaluation.picture import noise_digest

    prepared = found.prepared
    protocol = prepared.task.protocol
    parts = [
        generate(found.sampler, prepared, protocol, 0, start, stop)
        for start, stop in _ranges(samples, prepared.evaluation_batch)
    ]
    if not all(part.finite for part in parts):
        raise UserError(f"{subject.record.run_id} makes images that are not finite; fix: give another run")
    indices = torch.tensor(samples)
    conditions = torch.cat([part.conditions for part in parts if part.conditions is not None])
    prompts = tuple(prepared.condition_names(indices, conditions))
    noise = noise_digest(prepared, prompts, conditions, samples=list(samples))
    images = torch.cat([part.images for part in parts]).permute(0, 2, 3, 1).numpy()
    return Shown(np.ascontiguousarray(images), prompts, tuple(samples), noise)


def _ranges(samples: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Split ascending samples into ranges start ... stop - 1 without gaps, each of at most `most` samples."""
    ranges: list[tuple[int, int]] = []
    for sample in samples:
        if ranges and ranges[-1][1] == sample and sample - ranges[-1][0] < most:
            ranges[-1] = (ranges[-1][0], sample + 1)
        else:
            ranges.append((sample, sample + 1))
    return ranges
