"""The run's metrics file: one JSON object per line, cut back to a checkpoint when a run resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.errors import UserError
from tasks.files import write_text


def append_line(path: Path, values: dict[str, Any]) -> None:
    """Append one line and hand it to the system, so that a killed run keeps what it logged."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines; a last line cut short by a kill is dropped, any other damage is an error."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is not whole
        try:
            entry = json.loads(line)
            entry["iteration"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}:{number}: not a line of metrics: {line[:60]!r}; delete the run's folder and run again"
            ) from None
        found.append(entry)
    return found


def cut_back(path: Path, iteration: int) -> None:
    """Drop what was logged after `iteration` iterations, because it will be trained again."""
    kept = [line for line in read_lines(path) if line["iteration"] <= iteration]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
