"""The run's metrics file: one JSON object per line, cut back to a checkpoint when a run resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.files import read_text, write_text
from bench.core.numbers import is_finite

MOST_BYTES = 1 << 30
"""Largest log that is read: a thousand bytes for each of a million iterations."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines; a last line cut short by a kill is dropped, any other damage is an error."""
    if not path.exists():
        return []
    lines = read_text(path, MOST_BYTES).split("\n")
    found = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is not whole
        entry = _entry(line)
        if entry is None:
            raise UserError(
                f"{path}:{number}: not a line of metrics: {line[:60]!r}; delete the run's folder and run again"
            )
        found.append(entry)
    return found


def _entry(line: str) -> dict[str, Any] | None:
    """Read a line; None if it is none of ours: figures of an iteration are numbers, though they may be NaN."""
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
    """Drop what was logged after `iteration` iterations, because it will be trained again."""
    kept = [line for line in read_lines(path) if line["iteration"] <= iteration]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
