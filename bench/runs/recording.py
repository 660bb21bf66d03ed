"""The record of a finished or failed run is put together here."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from bench.core.files import digest
from bench.core.run_folder import LOG, METRICS, PLAN
from bench.metrics.result import MetricResult
from bench.models.denoiser import Denoiser
from bench.runs.argv import published_values
from bench.runs.plan import Planned, Run
from bench.runs.plugins.places import placed
from bench.runs.provenance import peak_memory, provenance
from bench.runs.record import Asset, CheckpointInfo, Cost, Failure, MethodInfo, NetworkPasses, Provenance, Record
from bench.runs.students.trained import TrainedStudent
from bench.task.assets import PreparedAsset
from bench.task.base import PreparedTask
from bench.training.alarms import AlarmNote, alarm_notes
from bench.training.best import Best
from bench.training.log import read_lines
from bench.training.trainer import Trained


def record_of(
    plan: Planned,
    prepared: PreparedTask,
    cost: Cost,
    made: Provenance,
    metrics: Sequence[MetricResult] = (),
    checkpoint: CheckpointInfo | None = None,
    more_data: Iterable[Asset] = (),
    sampler: dict[str, Any] | None = None,
    error: Failure | None = None,
    alarms: Sequence[AlarmNote] = (),
) -> Record:
    """Return a record from the plan, the results, and the provenance."""
    method = plan.method_info
    published = {"passed": published_values(method.passed), "recipe": published_values(method.recipe)}
    return Record(
        run_id=plan.id,
        kind=plan.kind,
        status="ok" if error is None else "failed",
        method=method.model_copy(update=published),
        task=plan.task.name,
        protocol=plan.task.protocol.as_dict(),
        protocol_sha256=plan.task.protocol.digest(),
        train_seed=plan.train_seed,
        metrics=list(metrics),
        checkpoint=checkpoint,
        cost=cost,
        weights=_assets(prepared.weights),
        data=[*_assets(prepared.data), *more_data],
        provenance=made,
        sampler=sampler or {},
        error=error,
        alarms=list(alarms),
    )


def under_another_protocol(
    record: Record, prepared: PreparedTask, made: Provenance, metrics: Sequence[MetricResult]
) -> Record:
    """Return the record of a finished run's student, evaluated again under the protocol of `prepared`.

    `prepared` may be another task with the same teacher; `made` is the provenance of the evaluation.
    """
    protocol = prepared.task.protocol
    return record.model_copy(
        update={
            "run_id": f"{record.run_id}-{digest([record.run_id, protocol.digest()])[:6]}",
            "task": prepared.task.name,
            "protocol": protocol.as_dict(),
            "protocol_sha256": protocol.digest(),
            "metrics": list(metrics),
            "weights": _assets(prepared.weights),
            "data": _assets(prepared.data),
            "provenance": made,
        }
    )


def of_the_best(record: Record, best: Best) -> Record:
    """Return a finished run's record for its best student by validation FD, labelled as selected by it."""
    if record.checkpoint is None:
        return record
    selected = {"iteration": best.iteration, "selection": "best-by-test-metric", "sha256": best.sha256}
    checkpoint = record.checkpoint.model_copy(update=selected)
    return record.model_copy(update={"run_id": f"{record.run_id}-best", "checkpoint": checkpoint})


def trained_student(
    trained: Trained, sha256: str, prepared: PreparedTask, more_data: Iterable[PreparedAsset], made: Provenance
) -> TrainedStudent:
    """Return the trained student for the evaluation, with the cost of all processes that trained it."""
    processes = PartialState().num_processes
    return TrainedStudent(
        sha256=sha256,
        teacher_sha256=prepared.teacher_sha256,
        iterations=trained.iterations,
        generator_updates=trained.generator_updates,
        seconds=trained.seconds,
        processes=processes,
        gpus=processes if torch.cuda.is_available() else 0,
        threads=torch.get_num_threads(),
        peak_memory_bytes=peak_memory(),
        passes={name: NetworkPasses(**passes._asdict()) for name, passes in trained.passes.items()},
        data=_assets(more_data),
        provenance=made,
    )


def training_cost(
    run: Run, trained: TrainedStudent, student: Denoiser, steps: int, evaluate_seconds: float
) -> Cost:
    """Return the cost of a trained student: its training and its evaluation."""
    return Cost(
        iterations=trained.iterations,
        generator_updates=trained.generator_updates,
        generated_images=trained.iterations * run.recipe.batch_size,
        network_evaluations=steps,
        train_seconds=trained.seconds,
        evaluate_seconds=evaluate_seconds,
        threads=trained.threads,
        processes=trained.processes,
        peak_memory_bytes=max(trained.peak_memory_bytes, peak_memory()),
        parameters=parameters_of(student),
        gpu_hours=trained.gpus * trained.seconds / 3600,
        passes=trained.passes,
    )


def failure(run: Run, error: Exception, prepared: PreparedTask, made: Provenance) -> Record:
    """Return the record of a run that raised an error, with the last lines of its metrics file."""
    failed = Failure(
        type=type(error).__name__,
        message=placed(error),
        traceback="".join(traceback.format_exception(error)),
        log_tail=[json.dumps(line) for line in read_lines(run.folder / METRICS)[-5:]],
    )
    iterations = _iterations(run.folder)
    cost = sampling_cost(
        parameters_of(prepared.teacher),
        network_evaluations=run.recipe.student_steps,
        iterations=iterations,
        generated_images=iterations * run.recipe.batch_size,
    )
    return record_of(
        run, prepared, cost, made, error=failed, alarms=alarm_notes(read_lines(run.folder / METRICS), run.recipe)
    )


def record_of_a_death(folder: Path, reason: str) -> Record:
    """Return the record of a run whose process was killed from outside, from the files in its folder."""
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    iterations = _iterations(folder)
    return Record(
        run_id=plan["run_id"],
        kind=plan["kind"],
        status="failed",
        method=MethodInfo(**{key: plan[key] for key in MethodInfo.model_fields}),
        task=plan["task"],
        protocol=plan["protocol"],
        protocol_sha256=digest(plan["protocol"]),
        train_seed=plan["seed"],
        metrics=[],
        checkpoint=None,
        cost=Cost(
            iterations=iterations,
            generator_updates=0,
            generated_images=iterations * plan["recipe"].get("batch_size", 0),
            network_evaluations=0,
            train_seconds=0,
            evaluate_seconds=0,
            threads=0,
            peak_memory_bytes=0,
            parameters=0,
            gpu_hours=0,
        ),
        weights=[],
        data=[],
        provenance=provenance("fp32"),
        sampler={},
        error=Failure(type="Killed", message=reason, traceback="", log_tail=_last_lines(folder / LOG)),
    )


def _iterations(folder: Path) -> int:
    """Return the last iteration in a run's metrics file."""
    lines = read_lines(folder / METRICS)
    return int(lines[-1]["iteration"]) if lines else 0


def _last_lines(log: Path, count: int = 20) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:] if log.exists() else []


def sampling_cost(
    parameters: int | None,
    network_evaluations: int | None,
    evaluate_seconds: float = 0.0,
    iterations: int = 0,
    generated_images: int = 0,
) -> Cost:
    """Return the cost of images without training, or of a failed training; None for what is not known."""
    return Cost(
        iterations=iterations,
        generator_updates=0,
        generated_images=generated_images,
        network_evaluations=network_evaluations,
        train_seconds=0,
        evaluate_seconds=evaluate_seconds,
        threads=torch.get_num_threads(),
        processes=PartialState().num_processes,
        peak_memory_bytes=peak_memory(),
        parameters=parameters,
        gpu_hours=0,
    )


def parameters_of(network: nn.Module) -> int:
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def _assets(assets: Iterable[PreparedAsset]) -> list[Asset]:
    """Return assets for a record, without their paths on this machine."""
    return [
        Asset(role=asset.role, sha256=asset.sha256, bytes=asset.bytes, altered=dict(asset.altered))
        for asset in assets
    ]
