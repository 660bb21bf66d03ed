"""What the benchmarks print, row by row, and the numbers of each row for the JSON file of `gpu.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench.core.files import append_line

ROWS = "BENCHMARK_ROWS"
"""Variable of the environment that names the file of the numbers: a JSON object on each line."""


def show(line: str, **numbers: object) -> None:
    """Print a line at once, and keep its numbers, so that they remain whatever ends this process later."""
    print(line, flush=True)
    if numbers and ROWS in os.environ:
        append_line(Path(os.environ[ROWS]), json.dumps(numbers))


def read_rows(path: Path) -> list[dict[str, object]]:
    """Return the numbers of all whole lines."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # after the last end of a line is one that is being written
