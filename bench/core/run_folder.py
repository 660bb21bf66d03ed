"""The files in the folder of a run, RUNS/TASK/RUN: their names, and the module that reads and writes each."""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import read_object
from bench.core.temporaries import remove_temporaries

PLAN = "run.json"
"""The plan of the run (bench.runs.plan), and how its jobs do it (bench.jobs.spec)."""
STATUS = "status.json"
"""The progress of the job that is running (bench.core.progress_bars)."""
LOG = "log.txt"
"""Everything that the run's jobs printed (bench.jobs.job)."""
ATTEMPTS = "attempts.jsonl"
"""The run's jobs and how they ended (bench.runs.states.attempts)."""
METRICS = "metrics.jsonl"
"""The log of training: losses and other figures by iteration (bench.training.log)."""
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints that training resumes from (bench.training.checkpoint)."""
STUDENT = "student"
"""Folder of the trained student, in the task's own form."""
TRAINED = "training.json"
"""The cost of training; once this file exists, training is complete (bench.runs.students.trained)."""
BEST = "best"
"""Folder, laid out like a run's, of the student with the lowest FD during training (bench.training.best)."""
EVALUATION = "evaluation"
"""Folder of the evaluation's repetitions (bench.evaluation.repetition)."""
SAMPLES = "samples.png"
"""Images of the student above the teacher's (bench.evaluation.picture)."""
SHEET = "sheet.png"
"""The first images of the result without any decoration, which `bench compare` and `bench site` read
(bench.evaluation.sheet)."""
SCORES = "scores.parquet"
"""The scores of single images, where metrics give them (bench.evaluation.image_scores)."""
OLD_SCORES = "scores.csv"
"""The same, as earlier versions wrote them."""
KEPT = "kept"
"""Folder of the images and features that `--keep` asks for (bench.evaluation.kept)."""
RECORD = "record.json"
"""The result (bench.runs.records)."""
OTHER_PROTOCOLS = "protocols"
"""Folder with records of the student under other protocols or tasks, and of the best student."""
LOCK = ".lock"
"""The lock that a working command takes (bench.runs.states.lock)."""
CONFIG = "run.toml"
"""The options of `bench run` that repeat the run (bench.jobs.spec)."""
JOB_SPEC = "job.json"
"""The description of a preparation or of a saved student's evaluation, in its own folder (bench.jobs.spec)."""


KEPT_KINDS = ("images", "features")
"""What it may have: a folder for each."""


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first; each is named by its iteration."""
    return sorted((path for path in folder.glob("*.pt") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def runs_option(runs: Path) -> str:
    """Return the option of a command that names the folder of the runs, after a blank; empty for the usual one."""
    usual = Path(os.environ.get("BENCH_RUNS") or "runs")
    return f" --runs {shell_path(runs)}" if runs != usual else ""


def go_on(folder: Path) -> str:
    """Return what to do about a run that has not finished, for messages after `fix: `."""
    task = folder.absolute().parent
    where = runs_option(folder.parent.parent)
    return f"bench status {task.name}/{folder.name}{where}, which says how to go on with it"


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that killed jobs left in a run's folder; the caller must hold its lock."""
    kept = [f"{KEPT}/{kind}" for kind in KEPT_KINDS]
    for place in (folder, *(folder / name for name in (CHECKPOINTS, EVALUATION, OTHER_PROTOCOLS, *kept))):
        remove_temporaries(place)


def run_of(checkpoint: Path) -> Path:
    """Return the folder of a student's run, if `checkpoint` is in one: the run's, or its `student` or `best`."""
    folder = checkpoint.resolve()
    for name in (STUDENT, BEST):
        folder = folder.parent if folder.name == name else folder
    return folder


def student_of(path: Path) -> Path:
    """Return the student's folder if `path` is a run's, else `path` itself: a student or published weights.

    Raises UserError if the run has no student: it has not finished, or it is a sampler's.
    """
    student = path / STUDENT
    if student.is_dir():
        return student
    if not (path / PLAN).is_file():
        return path
    plan = read_object(path / PLAN) or {}
    if plan.get("kind") == "baseline":
        raise UserError(
            f"the run in {path} is of a sampler of the teacher, and has no student; "
            f"fix: --sampler {plan.get('name')}"
        )
    raise UserError(f"the run in {path} has no student yet, since its training has not ended; fix: {go_on(path)}")
