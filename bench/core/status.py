"""The status file: how far the work in a run's folder is, written by whoever does it and read from outside."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.files import read_object, write_text
from bench.core.numbers import is_finite
from bench.core.run_folder import STATUS

TRAINING = "training"
"""The stage whose steps are iterations, each of a batch of images; the steps of the others are images."""


@dataclass
class Status:
    """How far one bar is."""

    stage: str
    """Its title: training, evaluation 1/3, ..."""
    total: int
    """Steps in all."""
    completed: int
    figures: dict[str, float] = field(default_factory=dict)
    """The latest of each: losses, FD."""
    began: float = 0
    """When this process opened it; times are seconds since 1970."""
    began_at: int = 0
    """Steps that were done then, by an attempt before."""
    time: float = 0
    """When this was written."""

    @property
    def rate(self) -> float | None:
        """Steps a second of this process; None before its first."""
        done, seconds = self.completed - self.began_at, self.time - self.began
        return done / seconds if seconds > 0 and done > 0 else None

    def write(self, path: Path) -> None:
        """Write it as it is now; the file appears whole."""
        self.time = time.time()
        write_text(path, json.dumps(vars(self)) + "\n")


def read_status(folder: Path) -> Status | None:
    """Read the status of the work in a folder; None if there is none, or the file is somebody else's."""
    try:
        found = Status(**(read_object(folder / STATUS) or {}))
        figures = found.figures.values()
    except (TypeError, AttributeError):
        return None
    if not isinstance(found.stage, str):
        return None
    numbers = (found.total, found.completed, found.began, found.began_at, found.time)
    shown = all(isinstance(number, int | float) for number in figures)  # a loss may be NaN
    return found if shown and all(is_finite(number) for number in numbers) else None
