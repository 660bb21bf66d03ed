"""What training leaves for the evaluation, which may come later, elsewhere: a student, and what it took."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from pydantic import ValidationError

from bench.core.errors import UserError
from bench.core.files import folder_sha256, write_text
from bench.core.run_folder import STUDENT, TRAINED
from bench.runs.records import Asset, Model, Provenance


class TrainedStudent(Model):
    """A trained student in a run's folder."""

    sha256: str
    """Of the student's folder."""
    teacher_sha256: str
    """Of the teacher that it was trained with."""
    iterations: int
    generator_updates: int
    seconds: float
    """Training time, over all attempts."""
    processes: int
    """That trained it together in the last attempt."""
    gpus: int
    threads: int
    peak_memory_bytes: int
    data: list[Asset]
    """What the method asked for beside the task's own: pairs, initial weights."""
    provenance: Provenance

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, last of all: with it, training is over."""
        write_text(folder / TRAINED, json.dumps(self.model_dump(mode="json"), indent=2) + "\n")


def read_trained(folder: Path, teacher_sha256: str) -> TrainedStudent | None:
    """Return the student of a run's folder; None if training is not over.

    Raises UserError if it is damaged, or of another teacher.
    """
    path = folder / TRAINED
    if not path.is_file():
        return None
    try:
        found = TrainedStudent.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged; delete it and run again: rm {shlex.quote(str(path))}") from None
    refuse_another_teacher(folder, found.teacher_sha256, teacher_sha256)
    student = folder / STUDENT
    if not student.is_dir() or folder_sha256(student) != found.sha256:
        again = f"delete it and run again: rm {shlex.quote(str(path))}"
        raise UserError(f"{student} is not the student that {path} describes; {again}")
    return found


def refuse_another_teacher(folder: Path, began: str, now: str) -> None:
    """Raise UserError if a run began with another teacher than there is now."""
    if began != now:
        raise UserError(
            f"the run in {folder} began with another teacher (sha256 {began[:12]}, now {now[:12]}); "
            f"delete the folder to start over: rm -r {shlex.quote(str(folder))}"
        )
