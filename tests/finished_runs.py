"""Folders of finished runs, RUNS/TASK/RUN, as if they had been trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from example_records import EXAMPLE, changed

from bench.evaluation.sheet import Sheet, write_sheet


def finished_run(
    runs: Path,
    values: Mapping[str, Any] = {},
    base: Mapping[str, Any] = EXAMPLE,
    plugins: Mapping[Path, str] = {},
) -> Path:
    """Write the folder of a record with some values changed; `plugins` are its plan's, with their hashes."""
    record = changed(base, values)
    folder = runs / record["task"] / record["run_id"]
    folder.mkdir(parents=True)
    plan = {**record["method"], "job": {"plugins": {str(path): sha256 for path, sha256 in plugins.items()}}}
    (folder / "run.json").write_text(json.dumps(plan))
    (folder / "record.json").write_text(json.dumps(record))
    write_sheet(folder / "sheet.png", Sheet(np.zeros((1, 8, 8, 1), np.uint8), (), "ab"))
    if record["kind"] == "method":
        lines = [{"iteration": step, "loss/a": step / 7} for step in range(1, 1501)]
        lines[9:9] = [{"iteration": 10, "fd": 12.3456789, "fd_samples": 1000}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
