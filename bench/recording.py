"""From a finished or failed run to its record."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import PartialState

from bench.best import Best
from bench.plan import Planned, Run
from bench.provenance import peak_memory
from bench.records import Asset, CheckpointInfo, Cost, Failure, MetricResult, Provenance, Record
from bench.training import Trained
from bench.training_log import read_lines
from tasks.denoiser import Denoiser
from tasks.files import digest
from tasks.prepared import Prepared, PreparedAsset


def record_of(
    plan: Planned,
    prepared: Prepared,
    cost: Cost,
    made: Provenance,
    metrics: Sequence[MetricResult] = (),
    checkpoint: CheckpointInfo | None = None,
    more_data: Iterable[PreparedAsset] = (),
    sampler: dict[str, Any] | None = None,
    error: Failure | None = None,
) -> Record:
    """Put a record together: what was planned, what came out, and all that made it."""
    return Record(
        run_id=plan.id,
        kind=plan.kind,
        status="ok" if error is None else "failed",
        method=plan.method_info,
        task=plan.task.name,
        protocol=plan.task.protocol.as_dict(),
        protocol_sha256=plan.task.protocol.digest(),
        train_seed=plan.train_seed,
        metrics=list(metrics),
        checkpoint=checkpoint,
        cost=cost,
        weights=_assets(prepared.weights),
        data=_assets([*prepared.data, *more_data]),
        provenance=made,
        sampler=sampler or {},
        error=error,
    )


def under_another_protocol(
    record: Record, prepared: Prepared, made: Provenance, metrics: Sequence[MetricResult]
) -> Record:
    """The record of a finished run's student, evaluated again under the protocol of `prepared`, perhaps of another
    task with the same teacher: `made` is of the evaluation."""
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
    """A finished run's record, for the student that had the lowest FD on the way: labelled as chosen so."""
    if record.checkpoint is None:
        return record
    chosen = {"iteration": best.iteration, "selection": "best-by-test-metric", "sha256": best.sha256}
    checkpoint = record.checkpoint.model_copy(update=chosen)
    return record.model_copy(update={"run_id": f"{record.run_id}-best", "checkpoint": checkpoint})


def training_cost(run: Run, trained: Trained, steps: int, evaluate_seconds: float) -> Cost:
    """What a trained student took."""
    return _cost(
        trained.student,
        network_evaluations=steps,
        evaluate_seconds=evaluate_seconds,
        iterations=trained.iterations,
        generator_updates=trained.generator_updates,
        generated_images=trained.iterations * run.recipe.batch_size,
        train_seconds=trained.seconds,
    )


def sampling_cost(teacher: Denoiser, network_evaluations: int, evaluate_seconds: float) -> Cost:
    """What a sampler of the teacher took: no training."""
    return _cost(teacher, network_evaluations=network_evaluations, evaluate_seconds=evaluate_seconds)


def failure(run: Run, error: Exception, prepared: Prepared, made: Provenance) -> Record:
    """The record of a run that raised: what, where, and the last lines of its metrics file."""
    lines = read_lines(run.folder / "metrics.jsonl")
    told = Failure(
        type=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        log_tail=[json.dumps(line) for line in lines[-5:]],
    )
    iterations = int(lines[-1]["iteration"]) if lines else 0
    cost = _cost(
        prepared.teacher,
        network_evaluations=run.recipe.student_steps,
        iterations=iterations,
        generated_images=iterations * run.recipe.batch_size,
    )
    return record_of(run, prepared, cost, made, error=told)


def _cost(
    network: Denoiser,
    network_evaluations: int,
    evaluate_seconds: float = 0.0,
    iterations: int = 0,
    generator_updates: int = 0,
    generated_images: int = 0,
    train_seconds: float = 0.0,
) -> Cost:
    processes = PartialState().num_processes
    gpus = processes if torch.cuda.is_available() else 0
    return Cost(
        iterations=iterations,
        generator_updates=generator_updates,
        generated_images=generated_images,
        network_evaluations=network_evaluations,
        train_seconds=train_seconds,
        evaluate_seconds=evaluate_seconds,
        threads=torch.get_num_threads(),
        processes=processes,
        peak_memory_bytes=peak_memory(),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gpu_hours=gpus * train_seconds / 3600,
    )


def _assets(assets: Iterable[PreparedAsset]) -> list[Asset]:
    """Assets as a record has them: without their paths, which are this machine's affair."""
    return [Asset(role=asset.role, sha256=asset.sha256, bytes=asset.bytes) for asset in assets]
