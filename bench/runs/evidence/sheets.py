"""Sample sheets of results: the file beside a record, or made now from the student on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.core.run_folder import OTHER_PROTOCOLS, PLAN, RECORD, SHEET, STUDENT
from bench.runs.evidence.files import SUFFIXES, evidence_of
from bench.runs.record import Record
from bench.runs.repeat import command_of
from bench.runs.task_sources import pinned_task, sources_of
from bench.task.variations import names_sampler

if TYPE_CHECKING:
    from bench.models.samplers import Sampler
    from bench.runs.registry import Catalogue
    from bench.task.base import PreparedTask

Prepare = Callable[[Record], "PreparedTask"]
"""Prepares the task and protocol of a record."""


def ensure_sheet(
    record: Record, path: Path, catalogue: Catalogue, prepare: Prepare, say: Callable[[str], None]
) -> Path:
    """Return the sample sheet of a record; if its student or sampler is on disk, make one that is missing.

    Making it prepares the task and generates at most 50 images, and `say` reports it. Raises UserError if there is
    no sheet and nothing to make it from.
    """
    found = evidence_of(path).sheet
    if found is not None:
        return found
    if not can_have_sheet(record, path):
        raise UserError(_missing(record, path))
    from bench.evaluation.image_source import SampledImages
    from bench.evaluation.picture import sample_sheet
    from bench.evaluation.sheet import write_sheet

    target = _sheet_of(path)
    say(f"{record.run_id} has no sample sheet; preparing {record.task} and making its first images: {target}")
    prepared = prepare(record)
    sampler, prepared = sampler_of_record(record, run_of_record(path), catalogue, prepared)
    write_sheet(target, sample_sheet(SampledImages(sampler, prepared), prepared, maker_of(record)))
    return target


def maker_of(record: Record) -> str:
    """Return the digest of what made a record's images, as its sheet has it; empty if the record does not say."""
    from bench.evaluation.sheet import maker_digest

    return maker_digest(record.checkpoint.sha256, record.sampler) if record.checkpoint is not None else ""


def can_have_sheet(record: Record, path: Path) -> bool:
    """Return whether a record has a sample sheet, or its student or sampler is on disk to make one."""
    return can_make_images(record, path) or evidence_of(path).sheet is not None


def can_make_images(record: Record, path: Path) -> bool:
    """Return whether a record's student or sampler is on disk, to make its images again."""
    run = run_of_record(path)
    return (run / PLAN).is_file() and (record.kind == "baseline" or _is_student_of(record, run))


def preparer(catalogue: Catalogue, cache: Path | None) -> Prepare:
    """Return a function that prepares each task and protocol once.

    Raises UserError if a task is not prepared, or has changed since the record was made.
    """

    from bench.core.progress_bars import StatusProgress

    done: dict[str, PreparedTask] = {}

    def prepare(record: Record) -> PreparedTask:
        if record.protocol_sha256 not in done:
            task = pinned_task(catalogue, record.task, cache, str(record.protocol.get("name", "")))
            if task.protocol.digest() != record.protocol_sha256:
                raise UserError(
                    f"{record.run_id} was measured under a protocol {record.protocol.get('name')!r} that "
                    f"{record.task} no longer has, so its images cannot be made again; fix: run it again"
                )
            progress = StatusProgress()
            done[record.protocol_sha256] = task.prepare(sources_of(task, cache), progress)
        return done[record.protocol_sha256]

    return prepare


def run_of_record(path: Path) -> Path:
    """Return the folder of the run whose record this is."""
    return path.parent.parent if path.parent.name == OTHER_PROTOCOLS else path.parent


def sampler_of_record(
    record: Record, run: Path, catalogue: Catalogue, prepared: PreparedTask
) -> tuple[Sampler, PreparedTask]:
    """Return the sampler that made a record's images, and the task that it samples on."""
    if record.kind == "baseline":
        if not names_sampler(prepared.task.baselines, record.method.name):
            raise UserError(f"{record.task} has no sampler {record.method.name!r} any more; fix: evaluate another")
        sampled = prepared.sampled(prepared.task.baseline(record.method.name))
        return sampled.sampler, sampled.prepared
    from bench.runs.students.saved import loaded_student, sampler_of

    student, indices = loaded_student(prepared, run / STUDENT)
    return sampler_of(catalogue, run, student, indices), prepared


def _sheet_of(path: Path) -> Path:
    """Return the place of the sheet beside a record's file."""
    return path.with_name(SHEET) if path.name == RECORD else path.with_suffix(SUFFIXES["sheet"])


def _is_student_of(record: Record, run: Path) -> bool:
    """Return whether the student in a run's folder is the one that a record measured."""
    from bench.core.files import folder_sha256

    student = run / STUDENT
    return (
        record.checkpoint is not None and student.is_dir() and folder_sha256(student) == record.checkpoint.sha256
    )


def _missing(record: Record, path: Path) -> str:
    """Say which sheet is missing, and how to make one."""
    planned = (path.parent / PLAN).is_file()
    why = "and its student is not the one that was measured" if planned else "and its student is not beside it"
    return (
        f"{path} has no sample sheet ({_sheet_of(path).name}), {why}; "
        f"fix: {command_of(record)}, and compare that run"
    )
