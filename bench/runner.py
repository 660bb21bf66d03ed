"""One run from start to record: prepare, train, evaluate, write. Each stage finds its finished output."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bench.evaluation import Evaluator, Generator
from bench.metrics.base import Metric
from bench.picture import sample_grid
from bench.plan import BaselineRun, Run, finished
from bench.provenance import peak_memory, provenance
from bench.records import (
    Asset,
    CheckpointInfo,
    Cost,
    Failure,
    MethodInfo,
    MetricResult,
    Record,
    write_record,
)
from bench.registry import Catalogue
from bench.training import Schedule, Trained, Trainer
from bench.training_log import read_lines
from methods.base import Pairs, Setting
from tasks.denoiser import Denoiser
from tasks.errors import UserError
from tasks.files import folder_sha256, write_text
from tasks.prepared import Prepared, PreparedAsset
from tasks.progress import Progress
from tasks.samplers import few_step, heun
from tasks.task import Baseline

CHECKPOINTS_PER_RUN = 20
GLANCES_PER_RUN = 10
GLANCE_SAMPLES = 2000


def metrics_of(catalogue: Catalogue, prepared: Prepared) -> dict[str, type[Metric]]:
    """Import the metrics that a task's protocol names."""
    return {name: catalogue.metrics.get(name).load() for name in prepared.task.protocol.metrics}


def student_generator(student: Denoiser, indices: list[int]) -> Generator:
    """A few-step student as an image generator."""
    return lambda noise, condition: few_step(student, noise, condition, indices)


def baseline_generator(teacher: Denoiser, baseline: Baseline) -> Generator:
    """A named sampler of the teacher as an image generator."""
    return lambda noise, condition: heun(teacher, noise, condition, baseline.steps, churn=baseline.churn)


class Runner:
    """Executes runs on one prepared task."""

    def __init__(self, catalogue: Catalogue, prepared: Prepared, progress: Progress) -> None:
        self.prepared = prepared
        self.progress = progress
        self.evaluator = Evaluator(prepared, metrics_of(catalogue, prepared), progress)

    def run(self, run: Run) -> Record:
        """Train, evaluate and record one run. A failure becomes a record too; UserErrors are raised."""
        with held(run.folder):
            done = finished(run.record)
            if done is not None:
                return done
            write_text(run.folder / "run.json", json.dumps(described(run), indent=2) + "\n")
            try:
                record = self._attempt(run)
            except UserError:
                raise
            except Exception as error:
                record = self._failure(run, error)
            write_record(run.record, record)
            return record

    def _attempt(self, run: Run) -> Record:
        accelerator = Accelerator(mixed_precision="bf16" if run.recipe.precision == "bf16" else "no")
        torch.manual_seed(run.seed)  # initial weights that are not the teacher's: the discriminator's head
        pairs_used: list[PreparedAsset] = []

        def make_pairs(count: int) -> Pairs:
            pairs = Pairs(*self.prepared.pairs(count))
            pairs_used.append(self.prepared.asset_of_pairs(count))
            return pairs

        teacher = copy.deepcopy(self.prepared.teacher).to(accelerator.device)
        setting = Setting(accelerator, teacher, self.prepared.null_condition, make_pairs)
        distiller = run.method.load()(run.recipe, setting)
        indices = distiller.indices
        trainer = Trainer(distiller, self.prepared, run.seed, run.folder, accelerator)
        iterations = run.recipe.iterations
        trained = trainer.run(
            Schedule(max(1, iterations // CHECKPOINTS_PER_RUN), max(1, iterations // GLANCES_PER_RUN)),
            self.progress,
            lambda student: self.evaluator.glance(student_generator(student, indices), GLANCE_SAMPLES),
        )
        self.prepared.save_student(trained.student, run.folder / "student", indices)
        student, _ = self.prepared.load_student(run.folder / "student")  # what is evaluated is what is on disk
        sha256 = folder_sha256(run.folder / "student")
        generator = student_generator(student, indices)
        metrics, seconds = self.evaluator.evaluate(generator, run.folder / "evaluation", sha256)
        self._picture(generator, f"{run.label}: network evaluations per image: {len(indices)}", run.folder)
        return self._record(run, metrics, trained, seconds, sha256, indices, pairs_used)

    def _picture(self, generator: Generator, title: str, folder: Path) -> None:
        ode = next(iter(self.prepared.task.baselines.values()))
        teacher = baseline_generator(self.prepared.teacher, ode)
        below = f"{ode.summary}: network evaluations per image: {ode.network_evaluations}"
        sample_grid({title: generator, below: teacher}, self.prepared, folder / "samples.png")

    def _record(
        self,
        run: Run,
        metrics: list[MetricResult],
        trained: Trained,
        seconds: float,
        sha256: str,
        indices: list[int],
        pairs: list[PreparedAsset],
    ) -> Record:
        recipe = run.recipe
        grid = self.prepared.teacher.schedule.grid
        return Record(
            run_id=run.id,
            kind="method",
            status="ok",
            method=method_info(run),
            task=run.task.name,
            protocol=run.task.protocol.as_dict(),
            protocol_sha256=run.task.protocol.digest(),
            train_seed=run.seed,
            metrics=metrics,
            checkpoint=CheckpointInfo(
                iteration=trained.iterations,
                selection="last",
                sha256=sha256,
                weights="raw" if recipe.ema_decay is None else "ema",
            ),
            cost=cost(
                trained.student,
                network_evaluations=len(indices),
                evaluate_seconds=seconds,
                iterations=trained.iterations,
                generator_updates=trained.generator_updates,
                generated_images=trained.iterations * recipe.batch_size,
                train_seconds=trained.seconds,
            ),
            weights=as_assets(self.prepared.weights),
            data=as_assets([*self.prepared.data, *pairs]),
            provenance=provenance(recipe.precision),
            sampler={"kind": "few-step", "grid_indices": indices, "times": [float(grid[i]) for i in indices]},
            error=None,
        )

    def _failure(self, run: Run, error: Exception) -> Record:
        return Record(
            run_id=run.id,
            kind="method",
            status="failed",
            method=method_info(run),
            task=run.task.name,
            protocol=run.task.protocol.as_dict(),
            protocol_sha256=run.task.protocol.digest(),
            train_seed=run.seed,
            metrics=[],
            checkpoint=None,
            cost=cost(self.prepared.teacher, network_evaluations=run.recipe.student_steps),
            weights=as_assets(self.prepared.weights),
            data=as_assets(self.prepared.data),
            provenance=provenance(run.recipe.precision),
            sampler={},
            error=Failure(
                type=type(error).__name__,
                message=str(error),
                traceback="".join(traceback.format_exception(error)),
                log_tail=[json.dumps(line) for line in read_lines(run.folder / "metrics.jsonl")[-5:]],
            ),
        )

    def baseline(self, run: BaselineRun) -> Record:
        """Evaluate and record one named sampler of the teacher."""
        with held(run.folder):
            done = finished(run.record)
            if done is not None:
                return done
            baseline, task = run.baseline, run.task
            teacher = self.prepared.teacher
            subject = self.prepared.teacher_sha256
            generator = baseline_generator(teacher, baseline)
            metrics, seconds = self.evaluator.evaluate(generator, run.folder / "evaluation", subject)
            record = Record(
                run_id=run.id,
                kind="baseline",
                status="ok",
                method=MethodInfo(name=baseline.name, origin="", distiller="", passed={}, recipe={}),
                task=task.name,
                protocol=task.protocol.as_dict(),
                protocol_sha256=task.protocol.digest(),
                train_seed=None,
                metrics=metrics,
                checkpoint=CheckpointInfo(iteration=0, selection="none", sha256=subject, weights="ema"),
                cost=cost(teacher, network_evaluations=baseline.network_evaluations, evaluate_seconds=seconds),
                weights=as_assets(self.prepared.weights),
                data=as_assets(self.prepared.data),
                provenance=provenance("fp32"),
                sampler=asdict(baseline),
                error=None,
            )
            write_record(run.record, record)
            return record


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that two processes never work on one run. Raises UserError if another does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is working on {folder}; wait for it, or stop it") from None
        yield


def described(run: Run) -> dict[str, Any]:
    """The plan of a run as it is kept in its folder."""
    return {
        "run_id": run.id,
        **method_info(run).model_dump(mode="json"),
        "task": run.task.name,
        "assets": run.task.identity(),
        "protocol": run.task.protocol.as_dict(),
        "seed": run.seed,
    }


def method_info(run: Run) -> MethodInfo:
    """Who the method is and with which numbers it ran."""
    return MethodInfo(
        name=run.method.name,
        origin=run.origin,
        distiller=run.method.distiller,
        passed=dict(run.passed),
        recipe=run.recipe.model_dump(mode="json"),
    )


def cost(
    network: Denoiser,
    network_evaluations: int,
    evaluate_seconds: float = 0.0,
    iterations: int = 0,
    generator_updates: int = 0,
    generated_images: int = 0,
    train_seconds: float = 0.0,
) -> Cost:
    """What a result took, on this machine."""
    gpus = 1 if torch.cuda.is_available() else 0
    return Cost(
        iterations=iterations,
        generator_updates=generator_updates,
        generated_images=generated_images,
        network_evaluations=network_evaluations,
        train_seconds=train_seconds,
        evaluate_seconds=evaluate_seconds,
        threads=torch.get_num_threads(),
        peak_memory_bytes=peak_memory(),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gpu_hours=gpus * train_seconds / 3600,
    )


def as_assets(assets: Iterable[PreparedAsset]) -> list[Asset]:
    """Assets as a record has them: without their paths, which are this machine's affair."""
    return [Asset(role=asset.role, sha256=asset.sha256, bytes=asset.bytes) for asset in assets]
