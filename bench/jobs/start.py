"""The entry point of a job, which reads its folder's description and does one stage of the work."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch

from bench.core.cpu import compute_on_cpu
from bench.core.distributed import join_workers
from bench.core.errors import UserError, unknown
from bench.core.files import file_sha256, read_object, regular_file
from bench.core.progress_bars import StatusProgress
from bench.core.run_folder import JOB_SPEC, PLAN
from bench.core.stopping import StopSignal, listening
from bench.jobs.spec import JobStage
from bench.runs.plan import BaselineRun
from bench.runs.planning import read_plan
from bench.runs.record import Record
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.runner import Runner
from bench.runs.students.saved import measure_student
from bench.runs.task_sources import pinned_task
from bench.task.base import Task
from bench.task.declaration import Sources


def start(folder: Path, stage: JobStage, stop: StopSignal, patience: float = 0) -> None:
    """Do a stage of the work that a folder's file describes, as one of a job's processes.

    `patience` is how many seconds to wait while another process works on the run. Raises UserError if the work
    fails, or if what it was planned with has changed since.
    """
    content = read_object(folder / PLAN) or read_object(folder / JOB_SPEC)
    if content is None or "job" not in content:
        raise UserError(f"{folder} describes no job: it has no readable {PLAN}; fix: plan it again: bench run")
    settings = content["job"]
    catalogue, sources = _settings(settings)
    if "run_id" in content:
        # A run that was planned by an earlier version may lack what came later.
        wishes = {name: settings[name] for name in ("track", "keep", "validations") if name in settings}
        _run(folder, stage, catalogue, sources, stop, patience, wishes)
    elif "checkpoint" in content:
        _measure(content, catalogue, sources)
    else:
        prepare(content)


def prepare(content: dict[str, Any]) -> None:
    """Do a preparation that is described as in `job.json`; bars are drawn on stderr. Raises UserError."""
    catalogue, sources = _settings(content["job"])
    prepared = _task(content, catalogue, sources).prepare(sources, StatusProgress())
    if content["pairs"]:
        prepared.pairs(content["pairs"])


def gpu_count() -> int:
    """Return how many GPUs CUDA shows to this process."""
    return torch.cuda.device_count()


def _settings(settings: dict[str, Any]) -> tuple[Catalogue, Sources]:
    """Read what all jobs of a plan share."""
    compute_on_cpu(settings["threads"])
    data = settings["data"]
    sources = Sources(Path(settings["cache"]), None if data is None else Path(data), settings["download"])
    return load_catalogue(_plugins(settings["plugins"])), sources


def _task(content: dict[str, Any], catalogue: Catalogue, sources: Sources) -> Task:
    """Return the task of a job that is no run. Raises UserError if what is pinned for it has changed."""
    task = pinned_task(catalogue, content["task"], sources.cache, content["protocol"]["name"])
    if task.identity() != content["assets"]:
        raise UserError(
            f"what is pinned for task {task.name!r} has changed since this job was planned; fix: submit it again"
        )
    return task


def _plugins(hashes: dict[str, str]) -> list[Path]:
    """Return the plug-in files of a job. Raises UserError for one that has changed since the job was planned."""
    for name, sha256 in hashes.items():
        if file_sha256(regular_file(Path(name))) != sha256:
            raise UserError(f"plug-in {name} has changed since this job was planned; fix: submit it again")
    return [Path(name) for name in hashes]


def _run(
    folder: Path,
    stage: JobStage,
    catalogue: Catalogue,
    sources: Sources,
    stop: StopSignal,
    patience: float,
    wishes: Mapping[str, Any],
) -> None:
    """Do a stage of a run; `wishes` are settings of the Runner that do not change its result."""
    run = read_plan(catalogue, folder, sources.cache)
    progress = join_workers(folder)
    runner = Runner(catalogue, run.task.prepare(sources, progress), progress, stop, patience, **wishes)
    record: Record | None
    if isinstance(run, BaselineRun):
        record = runner.baseline(run)
    else:
        record = runner.train(run) if stage == "train" else runner.run(run)
    if record is not None and record.error is not None:
        print(record.error.traceback)
        raise UserError(f"{run.label} failed: {record.error.type}: {record.error.message}")


def _measure(content: dict[str, Any], catalogue: Catalogue, sources: Sources) -> None:
    """Measure a saved student."""
    task, progress = _task(content, catalogue, sources), StatusProgress()
    runner = Runner(catalogue, task.prepare(sources, progress), progress)
    runs = Path(content["job"]["runs"])
    measured = measure_student(runner, Path(content["checkpoint"]), content["steps"], None, runs)
    print(f"record: {measured.record or 'the one of its run'}")


def main(folder: str, stage: str) -> None:
    """Be `python -m bench.jobs.start FOLDER STAGE`: do a job in this process."""
    if stage not in get_args(JobStage):
        raise unknown("stage", stage, get_args(JobStage))
    with listening() as stop:
        start(Path(folder), cast(JobStage, stage), stop)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
