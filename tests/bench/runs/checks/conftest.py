"""Records as they are committed, with some of their values changed, and what the checks find in them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from example_records import EXAMPLE, Found, Written, changed

from bench.runs.checks.check import Checker
from bench.runs.registry import load_catalogue

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="session")
def checker() -> Checker:
    """The checks of this installation, on 1 December 2026."""
    return Checker(load_catalogue(), now=NOW)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a changed record into a folder TASK as RUN.json, and return its path."""

    def write(values: Mapping[str, Any] = {}, base: Mapping[str, Any] = EXAMPLE, name: str = "") -> Path:
        record = changed(base, values)
        name = name or (record["run_id"] if "/" not in record["run_id"] else "run")
        path = tmp_path / "records" / str(base["task"]) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        return path

    return write


@pytest.fixture
def found_in(written: Written, checker: Checker) -> Found:
    """Return the findings on a changed record as lines, but for the note that it has no sheet."""

    def find(values: Mapping[str, Any] = {}, base: Mapping[str, Any] = EXAMPLE) -> list[str]:
        lines = map(str, checker.check_file(written(values, base)).findings)
        return [line for line in lines if not line.startswith("note: no sample sheet")]

    return find
