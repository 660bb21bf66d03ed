"""A suite with a budget fixes the iterations of every row, and says so in its table's note."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.runs.registry import Catalogue
from bench.runs.settled import settled
from bench.runs.suites import SuiteRow, SuiteScale, load_suite
from bench.training.budget import Budget, Spent

ROWS = (
    SuiteRow("dmd2", "DMD2", overrides={"batch_size": 4}),
    SuiteRow("gan", "GAN"),
    SuiteRow("nobodys", "not installed"),
)
SCALE = SuiteScale("mine", "micro", "tiny", (0,), ("fd",), ROWS, note="A remark.", budget=Budget("passes", 9999))


def test_each_row_has_the_iterations_that_the_budget_allows(catalogue: Catalogue) -> None:
    found = settled(SCALE, catalogue)
    for row in found.rows[:2]:
        recipe = catalogue.methods.get(row.method).recipe("tiny", "micro", row.overrides)
        more = recipe.model_copy(update={"iterations": recipe.iterations + 1})
        assert Spent.by(recipe).passes <= 9999 < Spent.by(more).passes
    assert found.rows[0].overrides["batch_size"] == 4
    assert found.rows[2] == ROWS[2]
    assert found.note.startswith("A remark. Equal budget: each training takes at most 9,999 passes. A pass is a")


def test_the_users_own_values_count_but_for_the_iterations(catalogue: Catalogue) -> None:
    usual = settled(SCALE, catalogue).rows[1].overrides["iterations"]
    assert settled(SCALE, catalogue, {"batch_size": 1}).rows[1].overrides["iterations"] > usual
    with pytest.raises(UserError, match=r"--set iterations=5 contradicts the budget of 9,999 passes of suite mine"):
        settled(SCALE, catalogue, {"iterations": 5})


def test_a_suite_without_a_budget_stays_as_it_is(catalogue: Catalogue) -> None:
    scale = load_suite("table3").scale("micro")
    assert settled(scale, catalogue, {"iterations": 5}) is scale


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
        ("3", "", "TypeError"),
        ("{ images = 1 }", "set = { iterations = 5 }", "'DMD2' sets its own iterations, and the budget of 1 images"),
        ("{ images = 1 }", "starts_from = 'dmd'\n[[rows]]\nmethod = 'dmd'\nlabel = ''", "'DMD2' starts from dmd"),
    ],
)
def test_a_bad_budget_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, more: str, problem: str
) -> None:
    monkeypatch.setattr("bench.runs.suites.RESULTS", tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.toml").write_text(SUITE.format(budget=budget, more=more))
    with pytest.raises(UserError, match=problem) as error:
        load_suite("mine")
    assert "mine.toml" in str(error.value)
