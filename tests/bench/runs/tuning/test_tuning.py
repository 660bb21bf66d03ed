"""A tuning tries every point of a grid on a seed of its own, and its record says which was best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuned_runs import write_result

from bench.core.errors import UserError
from bench.runs.records import load_records, tuned_runs
from bench.runs.registry import Catalogue
from bench.runs.states.lock import locked
from bench.runs.tuning.plan import TuningPlan, tuning_lines
from bench.runs.tuning.record import Question, answer_to, best, read_tuning
from bench.training.budget import Budget, Spent

ASKED = Question(
    "dmd2",
    "tiny",
    "tiny",
    {"lr": [1e-4, 1e-3, 1e-2], "gan_generator_weight": [0.01, 0.03]},
    {"batch_size": 4},
    budget=Budget("passes", 4000),
)


def planned(catalogue: Catalogue, root: Path, asked: Question = ASKED) -> TuningPlan:
    return TuningPlan.of(asked, catalogue, catalogue.tasks.get("tiny"), root)


def trained(catalogue: Catalogue, root: Path, values: list[float | None]) -> TuningPlan:
    """Return a plan all of whose runs have results."""
    plan = planned(catalogue, root)
    for run, value in zip(plan.runs, values, strict=True):
        write_result(run, value)
    return plan


VALUES: list[float | None] = [7.0, 6.0, 5.5, None, 5.5, 8.0]


def test_the_points_are_all_combinations() -> None:
    assert ASKED.points[:3] == [
        {"lr": 1e-4, "gan_generator_weight": 0.01},
        {"lr": 1e-4, "gan_generator_weight": 0.03},
        {"lr": 1e-3, "gan_generator_weight": 0.01},
    ]
    assert len(ASKED.points) == 6


def test_a_question_is_of_the_method_as_it_is_but_for_the_values_that_are_tried(catalogue: Catalogue) -> None:
    task = catalogue.tasks.get("tiny")

    def hash_of(**changes: Any) -> str:
        return replace(ASKED, **changes).of(catalogue, task).recipe_sha256

    assert hash_of() == hash_of(grid={"lr": [5.0], "gan_generator_weight": [1.0]}) == hash_of(seed=7)
    assert hash_of() == hash_of(budget=Budget("passes", 9999))  # it decides the iterations
    others = [hash_of(method="dmd2-ida"), hash_of(fixed={"batch_size": 5}), hash_of(budget=None)]
    assert len({hash_of(), *others}) == 4
    with pytest.raises(UserError, match="unknown method 'dmd3'"):
        hash_of(method="dmd3")


def test_each_point_is_an_ordinary_run_within_the_budget(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = planned(catalogue, tmp_path)
    assert len({run.id for run in plan.runs}) == 6 and {run.seed for run in plan.runs} == {100}
    for run, point in zip(plan.runs, ASKED.points, strict=True):
        assert (run.recipe.batch_size, run.recipe.lr) == (4, point["lr"])
        more = run.recipe.model_copy(update={"iterations": run.recipe.iterations + 1})
        assert Spent.by(run.recipe).passes <= 4000 < Spent.by(more).passes
    free = planned(catalogue, tmp_path, replace(ASKED, budget=None))
    assert {run.recipe.iterations for run in free.runs} == {5000}


def test_the_best_point_is_chosen_and_of_equal_ones_the_first(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = trained(catalogue, tmp_path, VALUES)
    found = plan.write()
    assert found.chosen == {"lr": 1e-3, "gan_generator_weight": 0.01}
    assert (found.metric, found.direction, found.seed, found.budget) == ("fd", "lower", 100, {"passes": 4000})
    assert [point.value for point in found.points] == VALUES
    assert [point.run_id for point in found.points] == [run.id for run in plan.runs]
    assert found.provenance.packages and best(found.points, "higher").value == 8.0
    assert plan.path == tmp_path / "tuning" / "tiny" / plan.path.name and plan.path.name.startswith("dmd2-")
    assert read_tuning(plan.path) == found


def test_people_see_every_point_and_which_is_best(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = trained(catalogue, tmp_path, [9.0, 8.0, 7.0, 7.5, 6.0, None])
    lines = list(tuning_lines(plan.write(), plan))
    assert [line[0] for line in lines[:6]] == [" ", " ", " ", " ", "*", " "]
    assert "lr=0.01, gan_generator_weight=0.01" in lines[4] and "fd 6" in lines[4] and "diverged" in lines[5]
    assert lines[6] == "note: lr at the edge of the grid; values beyond it may be better"
    command = "run: bench run --method dmd2 --task tiny --seed 0,1,2 --set batch_size=4 --set lr=0.01 --set "
    assert lines[8].startswith(command) and f"--set iterations={plan.runs[4].recipe.iterations}" in lines[8]
    assert lines[7] == f"tuning: {plan.path}"


def test_a_tuning_needs_every_run(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = planned(catalogue, tmp_path)
    write_result(plan.runs[0], 5.0)
    with pytest.raises(UserError, match=r"dmd2 is not tuned, since 5 of 6 runs have no result: dmd2-s100-"):
        plan.write()
    busy = rf"^dmd2 is not tuned yet: another command works on tiny/{plan.runs[2].id}; fix: wait for it: "
    with locked(plan.runs[2].folder), pytest.raises(UserError, match=busy):
        plan.write()
    assert not plan.path.exists()


def test_points_of_a_tuning_that_is_not_finished_are_no_results(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = planned(catalogue, tmp_path)
    plan.begin()
    write_result(plan.runs[0], 5.0)
    assert tuned_runs([tmp_path]) == {run.id for run in plan.runs}
    assert [record.of_tuning for record in load_records([tmp_path]).records] == [True]
    for number, run in enumerate(plan.runs):
        write_result(run, 5.0 + number)
    plan.write()
    assert [path.suffix for path in plan.path.parent.iterdir()] == [".json"]
    assert tuned_runs([tmp_path]) == {run.id for run in plan.runs}


def test_where_all_diverge_nothing_is_chosen(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = trained(catalogue, tmp_path, [None] * 6)
    with pytest.raises(UserError, match="all its 6 runs diverged; fix: other values"):
        plan.write()


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        ({"lrr": [1.0]}, "unknown recipe key 'lrr' of method 'dmd2'; did you mean 'lr'"),
        ({"lr": [1e-3, -1.0]}, "bad value -1.0 for recipe key 'lr'"),
        ({"best_every": [1, 2]}, "--set best_every has no effect"),
        (
            {"alarms": ["off", "note"]},
            "alarms=off and alarms=note are one run of dmd2, .*; fix: leave out",
        ),
    ],
)
def test_a_bad_grid_is_named(catalogue: Catalogue, tmp_path: Path, grid: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        planned(catalogue, tmp_path, replace(ASKED, grid=grid))


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, grid={"lr": [1e-4]}),
        replace(ASKED, fixed={}),
        replace(ASKED, seed=101),
        replace(ASKED, budget=None),
        replace(ASKED, budget=Budget("images", 4000)),
        replace(ASKED, protocol="other"),
    ],
)
def test_a_tuning_answers_its_own_question_alone(catalogue: Catalogue, tmp_path: Path, other: Question) -> None:
    plan = trained(catalogue, tmp_path, VALUES)
    found = plan.write()
    assert answer_to(ASKED, [tmp_path / "nowhere", tmp_path]) == found
    assert answer_to(other, [tmp_path]) is None
    plan.path.rename(other.path(tmp_path))
    with pytest.raises(
        UserError, match=r"answers another question than its name says; fix: mv .*bench tune again"
    ):
        answer_to(other, [tmp_path])


def test_a_tuning_under_another_version_of_the_protocol_is_no_answer(catalogue: Catalogue, tmp_path: Path) -> None:
    asked = ASKED.of(catalogue, catalogue.tasks.get("tiny"))
    plan = planned(catalogue, tmp_path, asked)
    for run, value in zip(plan.runs, VALUES, strict=True):
        write_result(run, value)
    found = plan.write()
    assert answer_to(asked, [tmp_path]) == found
    changed = replace(asked, protocol_sha256="0" * 64)
    assert changed.path(tmp_path) == plan.path and answer_to(changed, [tmp_path]) is None


def test_the_same_tuning_again_keeps_its_record(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = trained(catalogue, tmp_path, VALUES)
    before = plan.write().provenance.created
    content = json.loads(plan.path.read_text())
    content["provenance"]["created"] = "2020-01-01"
    plan.path.write_text(json.dumps(content))
    plan.write()
    assert before != "2020-01-01" == read_tuning(plan.path).provenance.created


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (
            "chosen",
            {"lr": 1e-4, "gan_generator_weight": 0.01},
            "the chosen values are not those of the best point",
        ),
        ("points", [], "the points are not those of the grid"),
        ("grid", {"lr": [1e-4]}, "the points are not those of the grid"),
        ("seed", -1, "seed: "),
        ("seed", "100", "seed: "),
        ("extra", 1, "extra: "),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    catalogue: Catalogue, tmp_path: Path, place: str, value: object, problem: str
) -> None:
    plan = trained(catalogue, tmp_path, VALUES)
    plan.write()
    plan.path.write_text(json.dumps(json.loads(plan.path.read_text()) | {place: value}))
    with pytest.raises(
        UserError, match=rf"valid record of a tuning \({problem}.*; fix: .*mv .*, then bench tune again"
    ):
        read_tuning(plan.path)


def test_a_folder_in_place_of_a_record_is_no_missing_one(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = trained(catalogue, tmp_path, VALUES)
    plan.path.mkdir(parents=True)
    for ask in (lambda: answer_to(ASKED, [tmp_path]), plan.write):
        with pytest.raises(UserError, match=f"{plan.path.name}: cannot be read: it is a folder"):
            ask()
