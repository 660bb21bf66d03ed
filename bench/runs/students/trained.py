"""A trained student and its cost, for an evaluation that may run later or on another machine."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import folder_sha256, write_text
from bench.core.run_folder import STUDENT, TRAINED
from bench.metrics.result import Model
from bench.runs.record import Asset, NetworkPasses, Provenance
from bench.training.checkpoint import refuse_another_teacher


class TrainedStudent(Model):
    """A trained student in a run's folder."""

    sha256: str
    """Digest of the student's folder."""
    teacher_sha256: str
    """Digest of the teacher that trained it."""
    iterations: int
    generator_updates: int
    seconds: float
    """Training time over all attempts."""
    processes: int
    """Number of processes that trained it together in the last attempt."""
    gpus: int
    threads: int
    peak_memory_bytes: int
    passes: dict[str, NetworkPasses] = Field(default_factory=dict)
    """Counted passes of single images, by network."""
    data: list[Asset]
    """Data that the method used in addition to the task's: pairs, initial weights."""
    provenance: Provenance

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, as the last file of training: its presence means that training is over."""
        write_text(folder / TRAINED, json.dumps(self.model_dump(mode="json"), indent=2) + "\n")


def read_trained(folder: Path, teacher_sha256: str) -> TrainedStudent | None:
    """Return the student of a run's folder; None if training is not over.

    Raises UserError if it is damaged, or was trained with another teacher.
    """
    path = folder / TRAINED
    if not path.is_file():
        return None
    try:
        found = TrainedStudent.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged; {_again(path)}") from None
    refuse_another_teacher(folder, found.teacher_sha256, teacher_sha256)
    student = folder / STUDENT
    if not student.is_dir() or folder_sha256(student) != found.sha256:
        raise UserError(f"{student} is not the student that {path} describes; {_again(path)}")
    return found


def _again(path: Path) -> str:
    """Return the fix by which a run writes its student again, for the end of a message."""
    return (
        "training continues from the run's newest checkpoint, or from the start without one, and overwrites the "
        f"student; fix: rm {shell_path(path)}, then run again"
    )
