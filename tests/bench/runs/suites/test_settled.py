"""What a suite decides for its rows: the iterations that its budget allows, and values that were tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import TINY_PLUGIN
from tuned_runs import write_result

from bench.core.errors import UserError
from bench.runs.protocols.derived import under_protocol
from bench.runs.records import write_model
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import question_of, require_rows, settled
from bench.runs.suites.suite import SuiteBaseline, SuiteRow, SuiteScale
from bench.runs.tuning.plan import TuningPlan
from bench.runs.tuning.record import Tuning, best, read_tuning, read_tunings, tuning_files
from bench.training.budget import Budget, Spent

RUNS = Path("no-runs")
ROWS = (
    SuiteRow("dmd2", "DMD2", overrides={"batch_size": 4}),
    SuiteRow("gan", "GAN"),
    SuiteRow("nobodys", "not installed"),
)
SCALE = SuiteScale("mine", "micro", "tiny", (0,), ("fd",), ROWS, note="A remark.", budget=Budget("passes", 9999))


def test_each_row_has_the_iterations_that_the_budget_allows(catalogue: Catalogue) -> None:
    found = settled(SCALE, catalogue, RUNS)
    for row in found.rows[:2]:
        recipe = catalogue.methods.get(row.method).recipe("tiny", "micro", row.overrides)
        more = recipe.model_copy(update={"iterations": recipe.iterations + 1})
        assert Spent.by(recipe).passes <= 9999 < Spent.by(more).passes
    assert found.rows[0].overrides["batch_size"] == 4
    assert found.rows[2] == replace(ROWS[2], installed=False)
    start = "A remark. Equal budget: each training takes at most 9,999 passes. "
    assert found.note.startswith(f"{start}Here the method nobodys is not known")
    assert found.note.endswith("fix: add --plugin FILE, which defines it.")


def test_the_users_own_values_count_but_for_the_iterations(catalogue: Catalogue) -> None:
    usual = settled(SCALE, catalogue, RUNS).rows[1].overrides["iterations"]
    assert settled(SCALE, catalogue, RUNS, {"batch_size": 1}).rows[1].overrides["iterations"] > usual
    with pytest.raises(
        UserError, match=r"--set iterations=5 contradicts the budget of 9,999 passes of suite mine"
    ):
        settled(SCALE, catalogue, RUNS, {"iterations": 5})


def test_samplers_that_the_task_does_not_have_are_marked(catalogue: Catalogue) -> None:
    scale = replace(SCALE, baselines=(SuiteBaseline("teacher-ode"), SuiteBaseline("teacher-cfg3")))
    assert [one.known for one in settled(scale, catalogue, RUNS).baselines] == [True, False]


def test_a_suite_without_a_budget_stays_as_it_is_and_knows_its_recipes_and_plug_ins(catalogue: Catalogue) -> None:
    scale = load_suite("table4").scale("micro")
    found = settled(scale, catalogue, RUNS, {"batch_size": 5})
    assert (found.plugins, found.given) == ((TINY_PLUGIN,), {"batch_size": 5})
    assert {row.recipe.recipe["batch_size"] for row in found.rows if row.recipe} == {5}
    rows = tuple(replace(row, recipe=None) for row in found.rows)
    assert replace(found, rows=rows, plugins=(), given={}) == scale


def test_a_suite_on_a_task_that_is_not_installed_has_no_recipes(catalogue: Catalogue) -> None:
    """The records of a stranger's task can be shown without it."""
    elsewhere = load_suite("table4").scale("micro").on("their-task")
    found = settled(elsewhere, catalogue, RUNS)
    assert [row.recipe for row in found.rows] == [None] * 4
    assert "Here the task their-task is not known, and so not the recipe that a row of it has now" in found.note


MINE = """\
[methods.mine]
extends = "dmd2"
summary = "dmd2 with another batch"
switches = {{ batch_size = {} }}
"""
TUNED = replace(SCALE, rows=(SuiteRow("dmd2", "DMD2", tune={"lr": [1e-4, 1e-3], "batch_size": [4, 8]}), ROWS[1]))


def tune(catalogue: Catalogue, root: Path, scale: SuiteScale = TUNED) -> None:
    """Let the third point, of rate 1e-3 and batch 4, be the best."""
    task = catalogue.tasks.get("tiny")
    measured = under_protocol(task, scale.protocol or task.protocol.name, catalogue)
    plan = TuningPlan.of(question_of(scale.rows[0], scale, catalogue, task), catalogue, measured, root)
    for run, value in zip(plan.runs, [3.0, 4.0, 1.0, 2.0], strict=True):
        write_result(run, value)
    plan.write()


def test_tuned_values_are_the_rows_and_decide_its_iterations(catalogue: Catalogue, tmp_path: Path) -> None:
    tune(catalogue, tmp_path)
    found = settled(TUNED, catalogue, tmp_path)
    first, second = found.rows
    assert "not known" not in found.note
    assert first.overrides == {"lr": 1e-3, "batch_size": 4, "iterations": first.overrides["iterations"]}
    assert not first.untuned and first.overrides["iterations"] > second.overrides["iterations"]
    assert "Unequal tuning: dmd2 alone has the best of 4 recipes on seed 100 by fd (bench tune)" in found.note
    assert "; no seed of the tuning is reported. Not tuned: " in found.note
    alone = settled(replace(TUNED, rows=TUNED.rows[:1]), catalogue, tmp_path).note
    assert "Equal tuning: each method has the best of 4 recipes" in alone and "Not tuned" not in alone
    require_rows(found, catalogue)
    assert settled(TUNED, catalogue, tmp_path, {"warmup": 1}).note.endswith(
        " It was tuned without --set warmup=1."
    )


def test_a_suite_that_fixes_a_protocol_is_tuned_by_it(catalogue: Catalogue, tmp_path: Path) -> None:
    by_another = replace(TUNED, protocol="tiny.fd")
    tune(catalogue, tmp_path, by_another)
    assert settled(by_another, catalogue, tmp_path).rows[0].overrides["lr"] == 1e-3
    assert settled(TUNED, catalogue, tmp_path).rows[0].untuned, "its own protocol asks another question"


def test_tunings_of_others_count_where_there_is_none(catalogue: Catalogue, tmp_path: Path) -> None:
    tune(catalogue, tmp_path / "theirs")
    others, problems = read_tunings(tmp_path / "theirs")
    assert settled(TUNED, catalogue, RUNS).rows[0].untuned and not problems
    assert settled(TUNED, catalogue, RUNS, others=others).rows[0].overrides["lr"] == 1e-3
    (path,) = tuning_files(tmp_path / "theirs")
    mine = tmp_path / "mine" / path.relative_to(tmp_path / "theirs")
    write_model(mine, reversed_choice(others[0]), read_tuning)
    assert settled(TUNED, catalogue, tmp_path / "mine", others=others).rows[0].overrides["lr"] == 1e-4
    assert settled(TUNED, catalogue, tmp_path / "mine" / "records", others=others).rows[0].overrides["lr"] == 1e-4


def reversed_choice(found: Tuning) -> Tuning:
    """Return an answer in which the points have each other's values, so that another one is the best."""
    values = [point.value for point in reversed(found.points)]
    points = [point.model_copy(update={"value": value}) for point, value in zip(found.points, values, strict=True)]
    return found.model_copy(update={"points": points, "chosen": best(points, found.direction).values})


def test_values_that_another_version_of_the_method_was_tuned_to_are_not_the_rows(tmp_path: Path) -> None:
    def version(batch_size: int) -> Catalogue:
        path = tmp_path / "mine.toml"
        path.write_text(MINE.format(batch_size), encoding="utf-8")
        return load_catalogue([TINY_PLUGIN, path])

    scale = replace(TUNED, rows=(replace(TUNED.rows[0], method="mine", tune={"lr": [1e-4, 1e-3]}),))
    before = version(4)
    task = before.tasks.get("tiny")
    plan = TuningPlan.of(question_of(scale.rows[0], scale, before, task), before, task, tmp_path)
    for run, value in zip(plan.runs, [2.0, 1.0], strict=True):
        write_result(run, value)
    plan.write()
    assert settled(scale, before, tmp_path).rows[0].overrides["lr"] == 1e-3
    assert settled(scale, version(5), tmp_path).rows[0].untuned
    assert not settled(scale, version(4), tmp_path).rows[0].untuned


def test_a_column_that_is_no_metric_is_named(catalogue: Catalogue) -> None:
    with pytest.raises(
        UserError, match="unknown metric in the columns of suite mine: 'recal'; did you mean 'recall'"
    ):
        require_rows(replace(SCALE, columns=("fd", "recal")), catalogue)


def test_a_row_that_is_not_tuned_yet_is_named_with_the_command(catalogue: Catalogue, tmp_path: Path) -> None:
    found = settled(TUNED, catalogue, tmp_path)
    assert [row.untuned for row in found.rows] == [True, False] and "Equal tuning" not in found.note
    with pytest.raises(
        UserError,
        match=r"not tuned yet on tiny: dmd2; fix: bench tune --suite mine .* --method dmd2$",
    ):
        require_rows(found, catalogue)


def test_a_row_that_is_not_installed_is_named_with_the_others(catalogue: Catalogue) -> None:
    with pytest.raises(UserError, match=r"not installed: nobodys; fix: install .*--method dmd2,gan"):
        require_rows(SCALE, catalogue)


def test_tuned_values_and_the_tunings_seed_are_not_the_users(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--set lr=0.1 contradicts suite mine, which tunes lr of dmd2; fix: leave"
    ):
        settled(TUNED, catalogue, tmp_path, {"lr": 0.1})
    with pytest.raises(UserError, match=r"tuned on seed 100, which is no seed to report; fix: --seed 0,2"):
        settled(replace(TUNED, seeds=(0, 100, 2)), catalogue, tmp_path)


def test_rows_of_some_methods_come_with_those_they_start_from() -> None:
    rows = (SuiteRow("dmd-ttur", ""), SuiteRow("gan", ""), SuiteRow("dmd2", "", starts_from="dmd-ttur/best"))
    scale = replace(SCALE, rows=rows)
    assert [row.method for row in scale.of(["dmd2"]).rows] == ["dmd-ttur", "dmd2"]
    with pytest.raises(UserError, match="unknown method in suite mine: 'dmd'; did you mean"):
        scale.of(["dmd"])


SUITE = """\
title = "Mine"
[scales.micro]
task = "digits"
seeds = [0]
columns = ["fd"]
budget = {budget}
[[rows]]
method = "dmd2"
label = "DMD2"
{more}
"""


@pytest.mark.parametrize(
    ("budget", "more", "problem"),
    [
        ("{ pases = 1 }", "", "unknown unit 'pases' of a budget; did you mean 'passes'"),
        ("3", "", "bad budget 3; fix: give it a unit, as in { passes"),
        (
            "{ images = 1 }",
            "set = { iterations = 5 }",
            "'DMD2' sets its own iterations, and the budget of 1 images",
        ),
        ("{ images = 1 }", "tune = { iterations = [5] }", "'DMD2' sets its own iterations"),
        ("{ images = 1 }", "tune = { lr = [] }", "tune is {'lr': .*; fix: make it a table of lists"),
        ("{ images = 1 }", "tune = { lr = [1] }\nset = { lr = 1 }", "'DMD2' sets lr and tunes it, too"),
        ("{ images = 1 }\ntuning_seed = 0", "tune = { lr = [1] }", "seed 0, on which .* among the suite's seeds"),
        ("{ images = 1 }", "starts_from = 'dmd'\n[[rows]]\nmethod = 'dmd'\nlabel = ''", "'DMD2' starts from dmd"),
    ],
)
def test_a_bad_budget_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, more: str, problem: str
) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.toml").write_text(SUITE.format(budget=budget, more=more))
    with pytest.raises(UserError, match=problem) as error:
        load_suite("mine")
    assert "mine.toml" in str(error.value)


def test_what_a_scale_sets_all_its_rows_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    (tmp_path / "suites").mkdir()
    text = SUITE.format(budget="{ images = 9 }\nset = { student_steps = 4, lr = 1 }", more="set = { lr = 2 }")
    (tmp_path / "suites" / "mine.toml").write_text(text)
    (row,) = load_suite("mine").scale("micro").rows
    assert row.overrides == {"student_steps": 4, "lr": 2}


@pytest.mark.parametrize(("unit", "kept"), [("generator_updates", False), ("passes", True), ("images", True)])
def test_a_budget_of_generator_updates_is_for_the_suites_own_task(unit: str, kept: bool) -> None:
    scale = replace(load_suite("table3").scale("micro"), budget=Budget.of({unit: 1000}))
    assert (scale.on("digits").budget is not None) is kept
    assert scale.on("fashion").budget is not None
