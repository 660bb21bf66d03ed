"""One run from start to record: train, evaluate, write. Each stage finds its finished output."""

from __future__ import annotations

import contextlib
import copy
import fcntl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from bench.checkpoint import start_from
from bench.distributed import from_main
from bench.evaluation import Evaluator, Generator
from bench.metrics.base import Metric
from bench.picture import sample_grid
from bench.plan import BaselineRun, Planned, PublishedRun, Run
from bench.provenance import provenance
from bench.recording import failure, record_of, sampling_cost, training_cost
from bench.records import CheckpointInfo, Provenance, Record, write_record
from bench.registry import Catalogue
from bench.training import Schedule, Trainer
from methods.base import Pairs, Setting
from tasks.denoiser import Denoiser
from tasks.errors import UserError
from tasks.files import folder_sha256
from tasks.prepared import Prepared, PreparedAsset, Sampled, file_asset
from tasks.progress import Progress
from tasks.samplers import few_step

CHECKPOINTS_PER_RUN = 20
GLANCES_PER_RUN = 10
GLANCE_SAMPLES = 2000


def metrics_of(catalogue: Catalogue, prepared: Prepared) -> dict[str, type[Metric]]:
    """Import the metrics that a task's protocol names."""
    return {name: catalogue.metrics.get(name).load() for name in prepared.task.protocol.metrics}


def student_generator(student: Denoiser, indices: list[int]) -> Generator:
    """A few-step student as an image generator, on this process's device."""
    student = student.to(PartialState().device)
    return lambda noise, condition: few_step(student, noise, condition, indices)


def few_step_sampler(student: Denoiser, indices: list[int]) -> dict[str, Any]:
    """How a few-step student's samples are drawn, as records have it."""
    return {"kind": "few-step", "grid_indices": indices, "times": student.schedule.grid[indices].tolist()}


@dataclass(frozen=True)
class Weights:
    """Trained weights, as a record counts them."""

    network: Denoiser
    sha256: str
    kind: Literal["ema", "published"]
    evaluations: int
    """Forward passes per image."""


class Runner:
    """Executes runs on one prepared task.

    In several processes all work on the one run; the first holds the folder and writes to it.
    """

    def __init__(self, catalogue: Catalogue, prepared: Prepared, progress: Progress) -> None:
        self.catalogue = catalogue
        self.prepared = prepared
        self.progress = progress
        self.evaluator = Evaluator(prepared, metrics_of(catalogue, prepared), progress)

    def run(self, run: Run) -> Record:
        """Train, evaluate and record one run. A failure becomes a record too; UserErrors are raised."""
        return self._once(run, lambda: self._trained(run))

    def baseline(self, run: BaselineRun) -> Record:
        """Evaluate and record one named sampler of the teacher."""
        if (done := from_main(run.finished)) is not None:
            return done  # other models' weights are not even loaded
        found = self.prepared.sampled(run.baseline)
        kind: Literal["ema", "published"] = "ema" if found.sha256 == self.prepared.teacher_sha256 else "published"
        weights = Weights(self.prepared.teacher, found.sha256, kind, run.baseline.network_evaluations)
        evaluator = Evaluator(found.prepared, self.evaluator.metrics, self.progress)
        return self._once(run, lambda: self._measured(run, evaluator, found.generator, weights, run.sampler()))

    def _once(self, plan: Planned, make: Callable[[], Record]) -> Record:
        """Return the finished record of a plan, or make it and write it, in a folder that nobody else works in."""
        with held(plan.folder):
            done = from_main(plan.finished)
            if done is not None:
                return done
            if PartialState().is_main_process:
                plan.begin()
            record = make()
            if PartialState().is_main_process:
                write_record(plan.record, record)
            return record

    def _trained(self, run: Run) -> Record:
        """The record of a run, of whatever kind its end was."""
        made = provenance(run.recipe.precision)  # now: what trains is the code as it stands here
        try:
            return self._attempt(run, made)
        except UserError:
            raise
        except Exception as error:
            return failure(run, error, self.prepared, made)

    def published(self, run: PublishedRun, student: Denoiser, indices: list[int]) -> Record:
        """Evaluate and record published weights of a few-step generator."""
        generator = student_generator(student, indices)
        weights = Weights(student, run.sha256, "published", len(indices))
        sampler = dict(run.sampler)
        return self._once(run, lambda: self._measured(run, self.evaluator, generator, weights, sampler))

    def _measured(
        self,
        plan: Planned,
        evaluator: Evaluator,
        generator: Generator,
        weights: Weights,
        sampler: dict[str, Any],
    ) -> Record:
        """The record of images that nothing was trained for."""
        made = provenance("fp32")
        metrics, seconds = evaluator.evaluate(generator, plan.folder / "evaluation", weights.sha256)
        return record_of(
            plan,
            self.prepared,
            sampling_cost(weights.network, weights.evaluations, seconds),
            made,
            metrics,
            CheckpointInfo(iteration=0, selection="none", sha256=weights.sha256, weights=weights.kind),
            sampler=sampler,
        )

    def _attempt(self, run: Run, made: Provenance) -> Record:
        if run.recipe.keep_best and "fd" not in self.evaluator.metrics:
            protocol = run.task.protocol.name
            raise UserError(
                f"keep_best chooses by FD, and protocol {protocol!r} has none; use --set keep_best=false"
            )
        accelerator = Accelerator(mixed_precision="bf16" if run.recipe.precision == "bf16" else "no")
        torch.manual_seed(run.seed)  # initial weights that are not the teacher's: the discriminator's head
        more_data: list[PreparedAsset] = []

        def make_pairs(count: int) -> Pairs:
            pairs = Pairs(*self.prepared.pairs(count))
            more_data.append(self.prepared.asset_of_pairs(count))
            return pairs

        def pixels() -> Callable[[Tensor], Tensor]:
            seen, assets = self.prepared.pixels()
            more_data.extend(assets)
            return seen

        teacher = copy.deepcopy(self.prepared.teacher).to(accelerator.device)
        setting = Setting(accelerator, teacher, self.prepared.null_condition, make_pairs, pixels)
        distiller = run.method.load()(run.recipe, setting)
        if run.recipe.init_from is not None:
            initial = start_from(run.recipe.init_from, distiller)
            more_data.append(file_asset("initial weights", initial))
        indices, iterations = distiller.indices, run.recipe.iterations
        trained = Trainer(distiller, self.prepared, run.seed, run.folder, accelerator).run(
            Schedule(max(1, iterations // CHECKPOINTS_PER_RUN), max(1, iterations // GLANCES_PER_RUN)),
            self.progress,
            lambda student: self.evaluator.glance(student_generator(student, indices), GLANCE_SAMPLES),
        )

        folder = run.folder / "student"
        if accelerator.is_main_process:
            self.prepared.save_student(trained.student, folder, indices)
        accelerator.wait_for_everyone()
        student, _ = self.prepared.load_student(folder)  # what is evaluated is what is on disk
        sha256 = folder_sha256(folder)
        generator = student_generator(student, indices)
        metrics, seconds = self.evaluator.evaluate(generator, run.folder / "evaluation", sha256)
        if accelerator.is_main_process:
            self._picture(run, generator, len(indices))
        return record_of(
            run,
            self.prepared,
            training_cost(run, trained, len(indices), seconds),
            made,
            metrics,
            CheckpointInfo(
                iteration=trained.iterations,
                selection="last",
                sha256=sha256,
                weights="raw" if run.recipe.ema_decay is None else "ema",
            ),
            more_data=more_data,
            sampler=few_step_sampler(student, indices),
        )

    def _picture(self, run: Run, generator: Generator, steps: int) -> None:
        """Draw the student above the teacher's first sampler, from the same noise."""
        panels: dict[str, Sampled] = {
            f"{run.label}: network evaluations per image: {steps}": Sampled(self.prepared, generator, "")
        }
        for sampler in list(self.prepared.task.baselines.values())[:1]:
            title = f"{sampler.summary}: network evaluations per image: {sampler.network_evaluations}"
            panels[title] = self.prepared.sampled(sampler)
        sample_grid(panels, run.folder / "samples.png")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other command works on the run. Raises UserError if one does.

    Of several processes that work together, the first holds it for all.
    """
    if not PartialState().is_main_process:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is working on {folder}; wait for it, or stop it") from None
        yield
