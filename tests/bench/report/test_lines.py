"""The run that chose a recipe is the best of several, and no table takes it for a result of that recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.report.lines import owners, suite_lines
from bench.report.selection import Selection
from bench.report.table import suite_table, task_table
from bench.runs.record import Record
from bench.runs.records import Loaded, load_records, write_record
from bench.runs.suites.reading import load_suite

Make = Callable[..., Record]
SUITE = load_suite("table3")
TABLE3 = SUITE.scale("micro")
TUNED = replace(TABLE3, rows=tuple(replace(row, tune={"lr": [3e-4, 1e-3]}) for row in TABLE3.rows))


def loaded(folder: Path, *records: Record) -> Loaded:
    """Return the records of a folder of runs with a tuning, whose points are the runs with seed 100."""
    for record in records:
        write_record(folder / record.run_id / "record.json", record)
    tuning = folder / "tuning" / "fashion" / "dmd2-0123456789.json"
    tuning.parent.mkdir(parents=True)
    tuning.write_text(json.dumps({"points": [{"run_id": one.run_id} for one in records if one.train_seed == 100]}))
    (tuning.parent / "damaged.json").write_text('{"points": [3, {}], "points": 4}')
    return load_records([folder])


def test_a_tuned_row_has_no_result_of_the_seed_that_chose_its_recipe(make_record: Make) -> None:
    records = [make_record(seed=seed) for seed in (0, 1, 100)]
    assert owners(suite_lines(TUNED, None), records)[2] is None
    assert None not in owners(suite_lines(TABLE3, None), records)
    data = suite_table(SUITE, None, records, TUNED).data
    assert data[data["method"] == "dmd2"]["seeds"].tolist() == ["0 1"]


def test_a_table_of_a_task_has_runs_of_a_tuning_apart(make_record: Make, tmp_path: Path) -> None:
    found = loaded(tmp_path, *(make_record(seed=seed, recipe={"lr": 1e-3}) for seed in (0, 1, 100)))
    assert [record.of_tuning for record in found.records].count(True) == 1 and not found.problems
    data = task_table(found.records, "fashion").data
    assert dict(zip(data["seeds"], data["passed"], strict=True)) == {"0 1": "lr=0.001", "100": "lr=0.001, tuning"}


def test_a_method_in_a_comparison_has_no_run_of_a_tuning(make_record: Make, tmp_path: Path) -> None:
    found = loaded(tmp_path, *(make_record(seed=seed) for seed in (0, 1, 100)))
    chosen = Selection(found)
    assert [record.train_seed for record in chosen.side("dmd2", "fashion").records] == [0, 1]
    (tuned,) = (record for record in found.records if record.train_seed == 100)
    assert chosen.side(tuned.run_id, None).first == tuned
    with pytest.raises(UserError, match="unknown run, method or sampler"):
        Selection(loaded(tmp_path / "alone", make_record(seed=100))).side("dmd2", "fashion")
