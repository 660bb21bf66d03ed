"""Records beside each other: what is counted twice, where they come from, and the committed ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_records import COMMITTED, EXAMPLE, SAMPLER, Written

from bench.core.errors import UserError
from bench.runs.checks.check import Checker

LATER = {"provenance.created": "2026-11-28T23:00:00+00:00"}
OTHER_WEIGHTS = {"checkpoint.sha256": "ab" * 32}
Together = Callable[..., list[str]]


@pytest.fixture
def beside_the_example(written: Written, checker: Checker) -> Together:
    """Return the errors on a later record with these values, beside the unchanged example."""

    def find(values: dict[str, Any]) -> list[str]:
        first, second = written(), written({**LATER, **values}, name="second")
        one, other = checker.check([second, first])
        assert not other.errors  # what was accepted stays so
        return [str(error) for error in one.errors]

    return find


def test_a_second_value_of_the_same_run_is_an_error(beside_the_example: Together) -> None:
    changed = {f"metrics.0.{name}": 50.0 for name in ("value", "low", "high")} | {"metrics.0.std": 0.0}
    (line,) = beside_the_example({**changed, "metrics.0.values": [50.0] * 3})
    assert "is a record of the same run with another result" in line


def test_other_weights_of_the_same_run_are_an_error(beside_the_example: Together) -> None:
    (line, *_) = beside_the_example(OTHER_WEIGHTS)
    assert "is a record of the same run with another result" in line


def test_a_repetition_with_the_same_result_is_a_warning(written: Written, checker: Checker) -> None:
    first, second = checker.check([written(), written(LATER, name="second")])
    assert not first.errors and not second.errors
    assert any("is a record of the same result" in str(one) for one in second.findings)


def test_a_seed_under_a_second_name_is_an_error(beside_the_example: Together) -> None:
    """Otherwise a table would count it as two of its seeds."""
    found = beside_the_example({"run_id": "dmd2-s1-0123456789"})
    assert any("has the same method, recipe, protocol and seed" in line for line in found)


def test_the_same_weights_as_another_seed_are_an_error(beside_the_example: Together) -> None:
    found = beside_the_example({"run_id": "dmd2-s7-0123456789", "train_seed": 7})
    assert any("has the same weights, but training seed 1 and not 7" in line for line in found)


def test_the_same_values_as_another_run_are_an_error(beside_the_example: Together) -> None:
    (line,) = beside_the_example({"run_id": "dmd2-s7-0123456789", "train_seed": 7, **OTHER_WEIGHTS})
    assert "is of another run, but has exactly the same values" in line


def test_the_same_file_twice_is_one_record(written: Written, checker: Checker) -> None:
    path = written()
    assert len(checker.check([path, path, path.parent])) == 1


def test_a_copy_is_a_warning(written: Written, checker: Checker) -> None:
    found = checker.check([written(), written(name="copy")])
    assert sum("is the same record" in str(one) for checked in found for one in checked.findings) == 1


def test_the_committed_records_are_accepted(checker: Checker) -> None:
    found = checker.check([COMMITTED])
    assert len(found) >= 46
    assert [f"{one}: {error}" for one in found for error in one.errors] == []
    assert all(one.known for one in found)


def test_a_runs_folder_and_a_folder_of_runs_are_checked(checker: Checker, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits" / SAMPLER["run_id"]
    (folder / "protocols").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(SAMPLER))
    (folder / "run.json").write_text("{}")  # the plan is no record
    (folder / "protocols" / "digits-0123.json").write_text(json.dumps(EXAMPLE))
    for path in (folder, tmp_path / "runs"):
        assert [one.path.name for one in checker.check([path])] == ["digits-0123.json", "record.json"]


def test_a_folder_bundle_is_checked_by_whatever_name(checker: Checker, written: Written, tmp_path: Path) -> None:
    written()
    shutil.move(tmp_path / "records", tmp_path / "theirs")
    (one,) = checker.check([tmp_path / "theirs"])
    assert str(one) == f"{tmp_path}/theirs/digits/{EXAMPLE['run_id']}.json" and not one.findings[:-1]


def test_a_path_without_records_is_a_mistake(checker: Checker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no records; fix: name a record's file"):
        checker.check([tmp_path])
    with pytest.raises(UserError, match="no file or folder"):
        checker.check([tmp_path / "nowhere"])
