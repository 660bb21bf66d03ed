"""What lies beside a record is that of another one: the records together show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_records import COMMITTED

from bench.evaluation.sheet import read_sheet, write_sheet
from bench.runs.checks.check import Checker

OLDER, NEWER = "dmd2-s1-e03abe5945", "dmd2-s2-6db2b0ad77"
CAPTIONED = ("dmd2-4step-s0-dd12dce955", "dmd2-4step-no-dm-s0-2d61bcb0da")
Findings = Callable[[Path], list[str]]


@pytest.fixture
def findings(checker: Checker) -> Findings:
    """Return what is found in a folder of records, but for notes."""

    def find(folder: Path) -> list[str]:
        return [str(one) for file in checker.check([folder]) for one in file.findings if one.level != "note"]

    return find


def copied(folder: Path, task: str, *names: str) -> Path:
    """Copy committed records with their sheets into an empty folder."""
    target = folder / "records" / task
    target.mkdir(parents=True)
    for name in names:
        for suffix in (".json", ".png"):
            (target / f"{name}{suffix}").write_bytes((COMMITTED / task / f"{name}{suffix}").read_bytes())
    return target


def test_a_sheet_of_another_method_is_a_warning(tmp_path: Path, findings: Findings) -> None:
    """Also one of an earlier version, which does not say what made it."""
    target = copied(tmp_path, "digits", OLDER, NEWER)
    assert findings(target) == []
    (target / f"{NEWER}.png").write_bytes((target / f"{OLDER}.png").read_bytes())
    (line,) = findings(target)
    assert line.startswith("warning: its sheet has the very images of ") and f"{OLDER}.json" in line


def test_sheets_of_collapsed_students_may_be_equal(tmp_path: Path, findings: Findings) -> None:
    target = copied(tmp_path, "digits", OLDER, NEWER)
    for name in (OLDER, NEWER):
        sheet = read_sheet(target / f"{name}.png")
        write_sheet(target / f"{name}.png", replace(sheet, images=np.zeros_like(sheet.images)))
    found = findings(target)
    assert len(found) == 2 and all("all its images are the same" in line for line in found)


def test_a_sheet_of_other_noise_is_a_warning(tmp_path: Path, findings: Findings) -> None:
    target = copied(tmp_path, "digits", OLDER, NEWER)
    write_sheet(target / f"{NEWER}.png", replace(read_sheet(target / f"{NEWER}.png"), noise="of another protocol"))
    (line,) = findings(target)
    assert line.startswith("warning: its sheet is of other noise or conditions than that of ")


def test_metrics_under_each_others_names_are_a_warning(tmp_path: Path, findings: Findings) -> None:
    """Values and diagnostics agree then; but the real images of a metric are the same in all records."""
    target = copied(tmp_path, "scenes-flow", *CAPTIONED)
    assert findings(target) == []
    path = target / f"{CAPTIONED[0]}.json"
    record: dict[str, Any] = json.loads(path.read_text())
    by_name = {metric["name"]: metric for metric in record["metrics"]}
    one, other = by_name["fd"], by_name["patch-fd"]
    for key in one.keys() - {"name", "title"}:
        one[key], other[key] = other[key], one[key]
    path.write_text(json.dumps(record))
    found = findings(target)
    assert len(found) == 2 and all("reference_min_eigenvalue is" in line for line in found)
