"""The status file of a run: its job writes how far it is, and other commands read it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.files import read_object, write_text
from bench.core.numbers import is_finite
from bench.core.run_folder import STATUS

TRAINING = "training"
"""The stage whose steps are iterations, each of a batch of images; the steps of all other stages are images."""


@dataclass
class Status:
    """The progress of one bar."""

    stage: str
    """The title of the bar: training, evaluation 1/3, ..."""
    total: int
    """The number of steps in all."""
    completed: int
    figures: dict[str, float] = field(default_factory=dict)
    """The latest values of losses, FD and the like."""
    began: float = 0
    """The time when this process opened the bar; times are seconds since 1970."""
    began_at: int = 0
    """Steps that an earlier attempt had done by then."""
    time: float = 0
    """The time when the file was written."""

    @property
    def rate(self) -> float | None:
        """Steps per second of this process; None before its first step."""
        done, seconds = self.completed - self.began_at, self.time - self.began
        return done / seconds if seconds > 0 and done > 0 else None

    def write(self, path: Path) -> None:
        """Write the current status to `path`; the file appears whole."""
        self.time = time.time()
        write_text(path, json.dumps(vars(self)) + "\n")


def read_status(folder: Path) -> Status | None:
    """Read the status of the work in a folder; None if there is no status file or it is not ours."""
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
