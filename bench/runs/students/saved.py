"""Saved students: reading and measuring one, and writing its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import path_sha256, read_object
from bench.core.run_folder import PLAN, RECORD, STUDENT, run_of, student_of
from bench.core.stopping import DivergedError
from bench.core.temporaries import scratch_folder
from bench.evaluation.image_scores import ImageScores, write_scores
from bench.evaluation.image_source import SampledImages
from bench.metrics.result import MetricResult
from bench.models.denoiser import Denoiser
from bench.models.descriptions import DESCRIPTION
from bench.runs.checks.doubled import same_result
from bench.runs.evidence.files import SUFFIXES
from bench.runs.plan import PublishedRun, published_name
from bench.runs.plugins.files import FROM_FILE
from bench.runs.provenance import provenance
from bench.runs.recipes import FILE_DIGITS
from bench.runs.recording import of_the_best, under_another_protocol
from bench.runs.records import other_protocol_path, read_record, refuse_another_result, write_record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask, Task
from bench.training.best import read_best
from bench.training.recipe import build_recipe
from bench.training.student_sampler import StudentSampler, checked, few_step_sampler


def loaded_student(
    prepared: PreparedTask, path: Path, steps: int | None = None, start: float | None = None
) -> tuple[Denoiser, list[int]]:
    """Read a student of a prepared task, in the protocol's precision of sampling.

    `start` is its first noise level if its file does not say it. Raises UserError as `PreparedTask.load_student`
    does, and if `start` is given for more than one step.
    """
    if start is not None and steps not in (None, 1):
        raise UserError(f"--student-start is for students of one step; fix: leave out --steps {steps}")
    student, indices = (
        prepared.load_student(path, steps) if start is None else prepared.load_student_from(path, start)
    )
    return prepared.as_sampled(student), indices


def sampler_of(catalogue: Catalogue, folder: Path, student: Denoiser, indices: Sequence[int]) -> StudentSampler:
    """Return the sampler of a saved student: that of its method if it belongs to a run, else few-step sampling.

    `folder` is the run's, or its `student` or `best`. Raises UserError if the run's method is not registered, or
    is of another version of its plug-in file: its sampler may be another, and the record would not say so.
    """
    run = run_of(folder)
    plan = read_object(run / PLAN) or {}
    if plan.get("kind") != "method":
        return few_step_sampler(student, indices)
    name = str(plan.get("name"))
    if name not in catalogue.methods.entries:
        raise UserError(
            f"{run} is a run of the method {name!r}, which is not registered, so its sampler is unknown; "
            "fix: name the file that defines it: --plugin FILE"
        )
    entry = catalogue.methods.find(name)
    was, trained_with = str(plan.get("origin")), str(plan.get("plugin_sha256", ""))
    unknown = not trained_with and was == entry.origin  # runs of earlier versions do not say it
    if trained_with != entry.plugin_sha256 and not unknown:
        fix = (
            "give the file as it was, --plugin FILE," if was.startswith(FROM_FILE) else f"install {was} as it was,"
        )
        raise UserError(
            f"{run} was trained with {was} of SHA-256 {trained_with[:FILE_DIGITS] or 'none'}, and "
            f"the method {name!r} is now {entry.origin} of {entry.plugin_sha256[:FILE_DIGITS] or 'none'}, whose "
            f"sampler may be another; fix: {fix} or train again"
        )
    method = entry.load()
    recipe = build_recipe(method.recipe_model(), plan.get("recipe") or {}, f"the run in {run}")
    return checked(method.load().sampler(recipe, student), student)


@dataclass(frozen=True)
class Measured:
    """The metrics of a student, and the record that was written."""

    metrics: Sequence[MetricResult]
    record: Path | None = None
    """None if the student's run has this record already, or if the student belongs to no run."""


def measure_student(
    runner: Runner, checkpoint: Path, steps: int | None, start: float | None, runs: Path
) -> Measured:
    """Measure a saved student under the runner's task.

    Published weights, which belong to no run, get their own record under `runs`; `start` is their first noise
    level if their file does not say it. Raises UserError if there is no such student, or if its images are not
    finite.
    """
    if not checkpoint.exists():
        raise UserError(f"there is no folder or file {checkpoint}; fix: name the folder of a run or a student")
    try:
        return _measured(runner, checkpoint, steps, start, runs)
    except DivergedError as error:
        raise UserError(
            f"{checkpoint}: {error}; its training diverged, or the file is damaged; fix: name another student"
        ) from None


def _measured(runner: Runner, checkpoint: Path, steps: int | None, start: float | None, runs: Path) -> Measured:
    if checkpoint.name == STUDENT and (checkpoint / DESCRIPTION).is_file():
        checkpoint = checkpoint.parent  # the record goes to the run's folder
    path = student_of(checkpoint)
    sha256 = path_sha256(path)
    student, indices = loaded_student(runner.prepared, path, steps, start)
    if path == checkpoint and not (path / DESCRIPTION).is_file():
        described = few_step_sampler(student, indices).description
        published = PublishedRun(runner.prepared.task, runs, published_name(path), sha256, described)
        record = runner.published(published, student, indices)
        return Measured(record.metrics, published.record)
    if runner.keep and path == checkpoint:
        raise UserError(f"--keep writes into the folder of a run, and {checkpoint} is none; fix: leave out --keep")
    with scratch_folder() as scratch:
        sampler = sampler_of(runner.catalogue, checkpoint, student, indices)
        images = SampledImages(sampler, runner.prepared)
        keeping = runner.keeping(checkpoint, sampler.description) if path != checkpoint else None
        metrics, _ = runner.evaluator.evaluate(images, scratch, sha256, keeping)
        scores = runner.evaluator.scores(scratch)
    kept = _keep_beside(runner, checkpoint, sha256, metrics, scores) if path != checkpoint else None
    return Measured(metrics, kept)


def _keep_beside(
    runner: Runner, folder: Path, sha256: str, metrics: Sequence[MetricResult], scores: ImageScores
) -> Path | None:
    """Write the record and the scores of a finished run's student under another protocol than the run's own.

    The protocol may be of another task with the same students. The student in a run's `best` folder gets a record
    under any protocol, which says how it was selected. Returns None if no record is written.
    """
    best = read_best(folder)
    run = folder if best is None else folder.parent
    if not (run / RECORD).is_file():
        return None
    record, prepared = read_record(run / RECORD), runner.prepared
    if best is not None:
        record = of_the_best(record, best)
    protocol = prepared.task.protocol
    own = record.checkpoint is not None and record.checkpoint.sha256 == sha256
    another = best is not None or record.protocol_sha256 != protocol.digest()
    if own and another and _same_students(runner.catalogue, record.task, prepared.task):
        target = other_protocol_path(run, protocol.name, protocol.digest(), best is not None)
        found = under_another_protocol(record, prepared, provenance(protocol.sampling_precision), metrics)
        if target.exists() and same_result(read_record(target), found):
            return target  # it was measured before
        refuse_another_result(target, found)  # before its scores are replaced
        write_scores(target.with_suffix(SUFFIXES["scores"]), scores)
        write_record(target, found)
        return target
    return None


def _same_students(catalogue: Catalogue, trained_on: str, task: Task) -> bool:
    """Return whether `task` measures students of the task `trained_on`: it is the same task or has its recipes."""
    if trained_on == task.name:
        return True
    known = catalogue.tasks.entries
    other = catalogue.tasks.get(trained_on) if trained_on in known else None
    return other is not None and (other.recipes or other.name) == (task.recipes or task.name)
