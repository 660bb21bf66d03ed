"""The rule of a sweep: what it takes the best of, what a point must have, and how ties end."""

from __future__ import annotations

from typing import Literal

import pytest

from bench.core.errors import UserError
from bench.runs.sweeps.choice import Quantities, Rule, parse_rule

METRICS: dict[str, Literal["lower", "higher"]] = {"fd": "lower", "recall": "higher"}


def point(fd: float | None, recall: float | None, evaluations: int) -> Quantities:
    return {"fd": fd, "recall": recall, "evaluations": evaluations}


POINTS = [point(5.0, 0.3, 64), point(6.0, 0.6, 32), point(7.0, 0.7, 8), point(None, None, 4)]


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("lowest fd", 0),
        ("highest recall", 2),
        ("lowest fd with recall>=0.5", 1),
        ("lowest fd with recall >= 0.5 and evaluations <= 16", 2),
        ("lowest evaluations with fd<=6", 1),
        ("lowest evaluations", 3),
        ("lowest fd with recall>=0.9", None),
    ],
)
def test_a_rule_chooses_among_the_points_that_meet_its_conditions(rule: str, chosen: int | None) -> None:
    assert parse_rule(rule, METRICS).choose(POINTS) == chosen


def test_of_equal_points_the_one_with_fewer_evaluations_is_chosen_and_then_the_first() -> None:
    rule = Rule("lower", "fd")
    assert rule.choose([point(5.0, 0.5, 64), point(5.0, 0.1, 8), point(5.0, 0.9, 8)]) == 1
    assert rule.choose([]) is None


def test_a_rule_is_written_in_one_form_which_is_read_back() -> None:
    rule = parse_rule("  lowest   fd with recall >= .50 and evaluations<=16 ", METRICS)
    assert str(rule) == "lowest fd with recall>=0.5 and evaluations<=16"
    assert parse_rule(str(rule), METRICS) == rule and rule.metrics == ["fd", "recall"]
    assert str(Rule("higher", "recall")) == "highest recall"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no rule; fix: --choose 'lowest fd'"),
        ("fd", "is no rule"),
        ("best fd", "is no rule"),
        ("lowest fd if recall>=0.5", "is no rule"),
        ("lowest fid", "unknown quantity in --choose 'fid'; did you mean 'fd'"),
        ("highest fd", "takes the worst point: fd is better when it is lower; fix: --choose 'lowest fd'"),
        ("highest evaluations", "takes the worst point"),
        ("lowest fd with recall=0.5", "'recall=0.5' is no condition such as recall>=0.5"),
        ("lowest fd with recal>=0.5", "unknown quantity in --choose 'recal'; did you mean 'recall'"),
        ("lowest fd with recall>=half", "'half' in 'recall>=half' is no number"),
        ("lowest fd with recall>=nan", "'nan' in 'recall>=nan' is no number"),
        ("lowest fd with recall<=inf", "'inf' in 'recall<=inf' is no number"),
        ("lowest fd with recall>=0.5 and", "'recall>=0.5 and' is no condition"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_rule(text, METRICS)
    assert said in str(error.value)
