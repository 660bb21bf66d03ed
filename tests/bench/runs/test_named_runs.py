"""The runs that a name means for packing: one recipe of a method, never several together."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from example_records import EXAMPLE, SAMPLER
from finished_runs import finished_run

from bench.core.errors import UserError
from bench.runs.named_runs import find_runs

RUN = EXAMPLE["run_id"]
Runs = Callable[..., Path]


@pytest.fixture
def finished(tmp_path: Path) -> Runs:
    """Return a function that makes the folder of a finished run from a record."""
    return partial(finished_run, tmp_path / "runs")


def test_runs_are_named_by_folder_id_or_method(finished: Runs, tmp_path: Path) -> None:
    first, other = finished(), finished({"run_id": "dmd2-s10-0123456789", "train_seed": 10})
    sampler = finished(base=SAMPLER)
    elsewhere = finished({"task": "fashion"})
    runs = tmp_path / "runs"
    assert find_runs(runs, [str(first)], None).folders == [first]
    assert find_runs(runs, [RUN], "digits").folders == [first]
    assert find_runs(runs, ["dmd2"], "digits").folders == [first, other]
    assert find_runs(runs, ["dmd2", RUN], None).folders == [first, other, elsewhere]
    assert find_runs(runs, ["teacher-ode"], None).folders == [sampler]
    with pytest.raises(UserError, match=r"no run or method 'dmd3' in .*; did you mean 'dmd2'"):
        find_runs(runs, ["dmd3"], None)
    with pytest.raises(UserError, match="no folder"):
        find_runs(runs, ["runs/nowhere"], None)


def test_runs_of_a_tuning_are_packed_by_their_own_names_alone(finished: Runs, tmp_path: Path) -> None:
    result, point = finished(), finished({"run_id": "dmd2-s100-0123456789", "train_seed": 100})
    runs = tmp_path / "runs"
    tuning = runs / "tuning" / "digits" / "dmd2-0123456789.json"
    tuning.parent.mkdir(parents=True)
    tuning.write_text(json.dumps({"points": [{"run_id": point.name}]}))
    assert find_runs(runs, ["dmd2"], None) == ([result], [point])
    assert find_runs(runs, [point.name], None) == ([point], [])
    assert find_runs(runs, ["dmd2", str(point)], None) == ([result, point], [])
    tuning.write_text(json.dumps({"points": [{"run_id": point.name}, {"run_id": result.name}]}))
    with pytest.raises(UserError, match=r"all runs of dmd2 are of its tuning.*fix: name them by their ids"):
        find_runs(runs, ["dmd2"], None)


def test_a_method_with_several_recipes_is_named_with_one_of_them(finished: Runs, tmp_path: Path) -> None:
    """As in `bench compare`: what is packed under one name is one row of a table."""
    usual = [finished(), finished({"run_id": "dmd2-s2-0123456789", "train_seed": 2})]
    other = finished(
        {
            "run_id": "dmd2-s1-9876543210",
            "method.passed": {"batch_size": 7},
            "method.recipe": EXAMPLE["method"]["recipe"] | {"batch_size": 7},
        }
    )
    runs = tmp_path / "runs"
    with pytest.raises(UserError, match="dmd2 has runs of 2 recipes on digits; fix: name each that") as told:
        find_runs(runs, ["dmd2"], None)
    listed = str(told.value).partition("is meant: ")[2].split(", ")
    called = {values: name for name, _, values in (one.partition(" ") for one in listed)}
    assert find_runs(runs, [called["(default)"]], None).folders == usual
    assert find_runs(runs, [called["(batch_size=7)"]], None).folders == [other]
    assert set(find_runs(runs, [*called.values()], None).folders) == {other, *usual}
    with pytest.raises(UserError, match=r"dmd2 has no recipe #zzz; valid: \w{6}, \w{6}"):
        find_runs(runs, ["dmd2#zzz"], None)


def test_recipes_of_two_tasks_are_no_two_of_one(finished: Runs, tmp_path: Path) -> None:
    values = {"task": "fashion", "method.recipe": EXAMPLE["method"]["recipe"] | {"batch_size": 7}}
    folders = [finished(), finished(values)]
    assert find_runs(tmp_path / "runs", ["dmd2"], None).folders == folders


def test_a_run_without_a_readable_plan_is_found_and_refused_later(finished: Runs, tmp_path: Path) -> None:
    folder = finished()
    (folder / "run.json").write_text("{}")
    assert find_runs(tmp_path / "runs", ["dmd2"], None).folders == [folder]
