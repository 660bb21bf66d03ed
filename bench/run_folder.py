"""What lies in the folder of a run, RUNS/TASK/RUN: the name of every file, and who knows what is in it."""

from __future__ import annotations

from pathlib import Path

from tasks.files import remove_temporaries

PLAN = "run.json"
"""What is worked on there (bench.plan)."""
STATUS = "status.json"
"""How far the work is that goes on there (bench.progress)."""
LOG = "log.txt"
"""All that its jobs printed (bench.work)."""
ATTEMPTS = "attempts.jsonl"
"""Its jobs and how they ended (bench.attempts)."""
METRICS = "metrics.jsonl"
"""What training logged (bench.training_log)."""
CHECKPOINTS = "checkpoints"
"""Folder of what training goes on from (bench.checkpoint)."""
STUDENT = "student"
"""Folder of the trained student, in the task's own form."""
TRAINED = "training.json"
"""What training took; with it, training is over (bench.trained)."""
BEST = "best"
"""Folder like a run's, of the student with the lowest FD on the way (bench.best)."""
EVALUATION = "evaluation"
"""Folder of the repetitions that are measured (bench.evaluation)."""
SAMPLES = "samples.png"
"""Images of the student above the teacher's (bench.picture)."""
RECORD = "record.json"
"""The result (bench.records)."""
OTHER_PROTOCOLS = "protocols"
"""Folder with records of its student under other protocols or tasks, and of its best student."""
LOCK = ".lock"
"""Held by the command that works there (bench.held)."""
JOB = ".job"
"""Folder of what submitit keeps of a job while it runs on this machine (bench.pool)."""


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
