"""The log of a run's training, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.training.log import read_lines


def read_progress(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl in order of iteration.

    A resumed run may log an iteration twice; the later values count. A last line that a kill cut short is
    left out; any other broken line raises UserError.
    """
    if not path.is_file():
        raise UserError(f"{path}: cannot be read: no such file")
    by_iteration: dict[int, dict[str, Any]] = {}
    for entry in read_lines(path):
        by_iteration[entry["iteration"]] = by_iteration.get(entry["iteration"], {}) | entry
    return [by_iteration[iteration] for iteration in sorted(by_iteration)]
