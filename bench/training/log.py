"""The metrics file of a run: one JSON object per line, truncated to the checkpoint when a run resumes.

Trackers are sent the same lines; the file is what counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.files import append_line, read_text, write_text
from bench.core.numbers import is_finite
from bench.training.tracking import Tracking

MOST_BYTES = 1 << 30
"""Size limit of a log that is read: a thousand bytes for each of a million iterations."""


class TrainingLog:
    """The log that a training writes: a file, and the trackers that follow it, if there are any."""

    def __init__(self, path: Path, tracking: Tracking | None = None) -> None:
        self.path = path
        self.tracking = tracking

    def begin(self, iteration: int) -> None:
        """Keep the lines of the first `iteration` iterations, after which training goes on; open the trackers."""
        if iteration == 0:
            self.path.unlink(missing_ok=True)
        else:
            cut_back(self.path, iteration)
        if self.tracking is not None:
            self.tracking.open(read_lines(self.path))

    def write(self, line: dict[str, float]) -> None:
        """Append a line to the file, and send it to the trackers."""
        append_line(self.path, json.dumps(line))
        if self.tracking is not None:
            self.tracking.log(line)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all complete lines. Raises UserError for a damaged line; a last line without its newline is ignored."""
    if not path.exists():
        return []
    lines = read_text(path, MOST_BYTES).split("\n")
    found = []
    for number, line in enumerate(lines[:-1], start=1):  # text after the last newline is an incomplete line
        entry = _entry(line)
        if entry is None:
            raise UserError(
                f"{path}:{number}: not a line of metrics: {line[:60]!r}; "
                "fix: remove this line, which is lost from the curves"
            )
        found.append(entry)
    return found


def _entry(line: str) -> dict[str, Any] | None:
    """Read a line, or return None if it is not a line of metrics. Figures are numbers, which may be NaN."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    iteration = entry.get("iteration")
    whole = isinstance(iteration, int) and is_finite(iteration)
    return entry if whole and all(_is_figure(value) for value in entry.values()) else None


def _is_figure(value: object) -> bool:
    return value is None or isinstance(value, float) or is_finite(value)


def cut_back(path: Path, iteration: int) -> None:
    """Remove the lines logged after `iteration` iterations, which will be trained again."""
    kept = [line for line in read_lines(path) if line["iteration"] <= iteration]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
