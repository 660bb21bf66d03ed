"""One run from start to record: train, evaluate, write. Each stage reuses its finished output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from accelerate import PartialState

from bench.core.distributed import from_main
from bench.core.errors import UserError
from bench.core.numerics import deterministic, tf32
from bench.core.progress import Progress
from bench.core.run_folder import EVALUATION, KEPT, METRICS, SAMPLES, SCORES, SHEET, STUDENT, remove_leftovers
from bench.core.stopping import Stopped, StopSignal
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.image_scores import write_scores
from bench.evaluation.image_source import ImageSource, SampledImages
from bench.evaluation.kept import Keeping
from bench.evaluation.picture import draw_samples, sample_sheet
from bench.evaluation.sheet import maker_digest, write_sheet
from bench.evaluation.teacher_reference import add_teacher_references
from bench.metrics.info import MetricInfo
from bench.models.denoiser import Denoiser
from bench.runs.given.plan import GivenRun
from bench.runs.plan import BaselineRun, Planned, PublishedRun, Run
from bench.runs.protocols.spaces import registered_spaces
from bench.runs.provenance import provenance
from bench.runs.record import CheckpointInfo, Provenance, Record
from bench.runs.recording import (
    failure,
    parameters_of,
    record_of,
    sampling_cost,
    training_cost,
)
from bench.runs.records import write_record
from bench.runs.registry import Catalogue
from bench.runs.repeat import keeping_command
from bench.runs.states.lock import locked
from bench.runs.students.trained import TrainedStudent, read_trained
from bench.runs.students.training import StudentTraining
from bench.runs.tracked import results_of, tracked_run
from bench.task.base import PreparedTask
from bench.training.alarms import alarm_notes
from bench.training.cadence import VALIDATIONS
from bench.training.log import TrainingLog, read_lines
from bench.training.recipe import Recipe
from bench.training.student_sampler import StudentSampler, checked, few_step_sampler
from bench.training.tracking import Tracking

T = TypeVar("T")


def metrics_of(catalogue: Catalogue, prepared: PreparedTask) -> dict[str, MetricInfo]:
    """Return the metrics that a task's protocol names."""
    return {name: catalogue.metrics.get(name) for name in prepared.task.protocol.metrics}


@contextlib.contextmanager
def computing_as(recipe: Recipe) -> Iterator[None]:
    """Let a GPU compute as a recipe says within a `with` block."""
    with tf32(recipe.tf32), deterministic(recipe.deterministic):
        yield


@dataclass(frozen=True)
class Weights:
    """The values that a record contains about the weights behind its images."""

    parameters: int | None
    """None if it is not known."""
    sha256: str
    """Hash of the weights, or of the images themselves where they were given."""
    kind: Literal["ema", "published", "none"]
    evaluations: int | None
    """Number of forward passes per image; None if it is not known."""


class Runner:
    """The executor of runs on one prepared task.

    With several processes all work on the same run; the first one locks the folder and writes to it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        prepared: PreparedTask,
        progress: Progress,
        stop: StopSignal | None = None,
        patience: float = 0,
        track: Sequence[str] = (),
        keep: Collection[str] = (),
        validations: int = VALIDATIONS,
    ) -> None:
        """Load the feature spaces of the protocol's metrics, and make the references that are missing.

        `stop` tells training to end early; `patience` is how many seconds to wait for a locked folder; `track`
        names the trackers that runs send their logs to; `keep` names what evaluations keep: images, features;
        `validations` says how often FD is measured during training.
        Raises UserError if a metric cannot be measured, for example with too few real images.
        """
        self.catalogue = catalogue
        self.prepared = prepared
        self.progress = progress
        self.stop = stop
        self.patience = patience
        self.track = track
        self.keep = keep
        self.validations = validations
        metrics = metrics_of(catalogue, prepared)
        further = registered_spaces(catalogue, prepared, metrics.values(), prepared.cache, progress)
        add_teacher_references(prepared, metrics.values(), further, progress)
        self.evaluator = Evaluator(prepared, metrics, progress, further)
        self.evaluator.require()

    @property
    def students(self) -> StudentTraining:
        """What trains the students of runs."""
        return StudentTraining(self.prepared, self.evaluator, self.progress, self.stop, self.validations)

    def run(self, run: Run) -> Record:
        """Train, evaluate and record one run. A failure becomes a record too; a UserError is raised."""
        with self._log(run) as log, computing_as(run.recipe):
            record = self._once(run, lambda: self._recorded(run, partial(self._attempt, log=log)))
            if log.tracking is not None:
                picture = run.folder / SAMPLES
                log.tracking.finish(
                    read_lines(log.path), results_of(record), picture if picture.exists() else None
                )
            return record

    def train(self, run: Run) -> Record | None:
        """Train one run's student without evaluating it, which `run` does later. A failure becomes a record."""
        with self._log(run) as log, computing_as(run.recipe), locked(run.folder, self.patience):
            done = from_main(run.finished)
            if done is not None or self._before(run) is not None:
                return done
            if PartialState().is_main_process:
                remove_leftovers(run.folder)
            record = self._recorded(run, partial(self.students.train, log=log))
            if not isinstance(record, Record):
                return None
            if PartialState().is_main_process:
                write_record(run.record, record)
            return record

    def baseline(self, run: BaselineRun) -> Record:
        """Evaluate and record one named sampler of the teacher."""
        if (done := from_main(run.finished)) is not None:
            self._say_not_kept(run)
            return done  # the weights of other models are not loaded
        found = self.prepared.sampled(run.baseline)
        kind: Literal["ema", "published"] = "ema" if found.sha256 == self.prepared.teacher_sha256 else "published"
        parameters = parameters_of(self.prepared.teacher)
        weights = Weights(parameters, found.sha256, kind, run.baseline.network_evaluations)
        evaluator = Evaluator(found.prepared, self.evaluator.metrics, self.progress, self.evaluator.further)
        images = SampledImages(found.sampler, found.prepared)
        return self._once(run, lambda: self._measured(run, evaluator, images, weights, run.sampler()))

    def keeping(self, folder: Path, sampler: Mapping[str, Any]) -> Keeping:
        """Return where the evaluation of a run's folder keeps and finds images and features."""
        return Keeping(folder / KEPT, self.keep, sampler, self.progress.note)

    def _say_not_kept(self, plan: Planned) -> None:
        if self.keep:
            kinds = " and ".join(self.keep)
            self.progress.note(
                f"{plan.folder} was finished before, and no {kinds} are kept now; "
                f"fix: {keeping_command(plan, self.keep)}"
            )

    def _once(self, plan: Planned, make: Callable[[], Record]) -> Record:
        """Return the finished record of a plan, or make and write it while the plan's folder is locked."""
        with locked(plan.folder, self.patience):
            done = from_main(plan.finished)
            if done is not None:
                self._say_not_kept(plan)
                return done
            if PartialState().is_main_process:
                remove_leftovers(plan.folder)
                plan.begin(self.catalogue.plugins)
            record = make()
            if PartialState().is_main_process:
                write_record(plan.record, record)
            return record

    def _recorded(self, run: Run, work: Callable[[Run, Provenance], T]) -> T | Record:
        """Do a run's work. If it fails, return the record of the failure."""
        made = provenance(run.recipe.precision)  # before the work, since the source files may change meanwhile
        try:
            return work(run, made)
        except UserError:
            raise
        except Exception as error:
            return failure(run, error, self.prepared, made)

    def published(self, run: PublishedRun, student: Denoiser, indices: list[int]) -> Record:
        """Evaluate and record published weights of a few-step generator."""
        sampler = few_step_sampler(student, indices)
        weights = Weights(parameters_of(student), run.sha256, "published", sampler.evaluations)
        described, images = dict(run.sampler), SampledImages(sampler, self.prepared)
        return self._once(run, lambda: self._measured(run, self.evaluator, images, weights, described))

    def given(self, run: GivenRun, images: ImageSource, weights: Weights) -> Record:
        """Evaluate and record images that come from outside of students and samplers."""
        described = dict(run.sampler)
        return self._once(run, lambda: self._measured(run, self.evaluator, images, weights, described))

    def _measured(
        self,
        plan: Planned,
        evaluator: Evaluator,
        images: ImageSource,
        weights: Weights,
        described: dict[str, Any],
    ) -> Record:
        """Evaluate images of a sampler that was not trained here and return its record."""
        made = provenance(evaluator.prepared.task.protocol.sampling_precision)
        keeping = self.keeping(plan.folder, described)
        metrics, seconds = evaluator.evaluate(images, plan.folder / EVALUATION, weights.sha256, keeping)
        if PartialState().is_main_process:
            write_scores(plan.folder / SCORES, evaluator.scores(plan.folder / EVALUATION, images.seeded))
            write_sheet(
                plan.folder / SHEET,
                sample_sheet(images, evaluator.prepared, maker_digest(weights.sha256, described)),
            )
        return record_of(
            plan,
            self.prepared,
            sampling_cost(weights.parameters, weights.evaluations, seconds),
            made,
            metrics,
            CheckpointInfo(iteration=0, selection="none", sha256=weights.sha256, weights=weights.kind),
            sampler=described,
        )

    def _attempt(self, run: Run, made: Provenance, log: TrainingLog) -> Record:
        trained = self._before(run) or self.students.train(run, made, log)
        if self.stop is not None:
            self.stop.obey()  # a signal in the last iteration: the student is saved, and the rest may take long
        student, _ = self.prepared.load_student(run.folder / STUDENT)  # the weights on disk are evaluated
        sampled = self.prepared.as_sampled(student)
        sampler = checked(run.method.load().sampler(run.recipe, sampled), sampled)
        images = SampledImages(sampler, self.prepared)
        keeping = self.keeping(run.folder, sampler.description)
        metrics, seconds = self.evaluator.evaluate(images, run.folder / EVALUATION, trained.sha256, keeping)
        if PartialState().is_main_process:
            write_scores(run.folder / SCORES, self.evaluator.scores(run.folder / EVALUATION))
            self._pictures(run, sampler, maker_digest(trained.sha256, sampler.description))
        return record_of(
            run,
            self.prepared,
            training_cost(run, trained, student, sampler.evaluations, seconds),
            trained.provenance,
            metrics,
            CheckpointInfo(
                iteration=trained.iterations,
                selection="last",
                sha256=trained.sha256,
                weights="raw" if run.recipe.ema_decay is None else "ema",
            ),
            more_data=trained.data,
            sampler=dict(sampler.description),
            alarms=alarm_notes(read_lines(run.folder / METRICS), run.recipe),
        )

    def _before(self, run: Run) -> TrainedStudent | None:
        """Return the student of a run that was trained earlier, or None."""
        return from_main(lambda: read_trained(run.folder, self.prepared.teacher_sha256))

    @contextlib.contextmanager
    def _log(self, run: Run) -> Iterator[TrainingLog]:
        """Make the log of a run; the first process has its trackers, which are closed at the end."""
        path = run.folder / METRICS
        if not self.track or not PartialState().is_main_process:
            yield TrainingLog(path)
            return
        tracking = Tracking(self.track, tracked_run(run), run.root)
        stopped = False
        try:
            yield TrainingLog(path, tracking)
        except Stopped:
            stopped = True
            raise
        finally:
            tracking.close(stopped)

    def _pictures(self, run: Run, sampler: StudentSampler, made_by: str) -> None:
        """Write the student's sample sheet, and draw it above the teacher's first sampler, from the same noise."""
        sheet = sample_sheet(SampledImages(sampler, self.prepared), self.prepared, made_by)
        write_sheet(run.folder / SHEET, sheet)
        panels = {f"{run.label}: network evaluations per image: {sampler.evaluations}": sheet}
        for baseline in list(self.prepared.task.baselines.values())[:1]:
            title = f"{baseline.summary}: network evaluations per image: {baseline.network_evaluations}"
            found = self.prepared.sampled(baseline)
            images = SampledImages(found.sampler, found.prepared)
            panels[title] = sample_sheet(images, found.prepared)
        draw_samples(panels, run.folder / SAMPLES)
