"""What lies in the folder of a run, RUNS/TASK/RUN: the name of every file, and who knows what is in it."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import remove_temporaries

PLAN = "run.json"
"""What is worked on there (bench.runs.plan), and how its jobs do it (bench.jobs.spec)."""
STATUS = "status.json"
"""How far the work is that goes on there (bench.core.progress_bars)."""
LOG = "log.txt"
"""All that its jobs printed (bench.jobs.job)."""
ATTEMPTS = "attempts.jsonl"
"""Its jobs and how they ended (bench.runs.attempts)."""
METRICS = "metrics.jsonl"
"""What training logged (bench.training.log)."""
CHECKPOINTS = "checkpoints"
"""Folder of what training goes on from (bench.training.checkpoint)."""
STUDENT = "student"
"""Folder of the trained student, in the task's own form."""
TRAINED = "training.json"
"""What training took; with it, training is over (bench.runs.trained)."""
BEST = "best"
"""Folder like a run's, of the student with the lowest FD on the way (bench.training.best)."""
EVALUATION = "evaluation"
"""Folder of the repetitions that are measured (bench.evaluation.evaluator)."""
SAMPLES = "samples.png"
"""Images of the student above the teacher's (bench.evaluation.picture)."""
RECORD = "record.json"
"""The result (bench.runs.records)."""
OTHER_PROTOCOLS = "protocols"
"""Folder with records of its student under other protocols or tasks, and of its best student."""
LOCK = ".lock"
"""Held by the command that works there (bench.runs.run_lock)."""
CONFIG = "run.toml"
"""The options of `bench run` that repeat the run (bench.jobs.spec)."""
JOB_SPEC = "job.json"
"""In the folder of a preparation, or of a saved student's evaluation: what its job does (bench.jobs.spec)."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first; each is named by its iteration."""
    return sorted((path for path in folder.glob("*.pt") if path.stem.isdigit()), key=lambda path: int(path.stem))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed jobs were writing in a run's folder, whole students among it; its lock must be held."""
    for place in (folder, *(folder / name for name in (CHECKPOINTS, EVALUATION, OTHER_PROTOCOLS))):
        remove_temporaries(place)


def student_of(path: Path) -> Path:
    """The student's folder where `path` is a run's; else `path` itself: a student, or published weights."""
    return path / STUDENT if (path / STUDENT).is_dir() else path
