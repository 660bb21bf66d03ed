"""Errors a user sees: one line that says what would have been right."""

from bench.core.errors import UserError, counted, nearest, unknown, with_fix, without_fix


def test_the_nearest_names_come_first() -> None:
    assert nearest("dmd3", ["fashion", "dmd2", "dmd"])[0] in {"dmd", "dmd2"}
    assert nearest("digit", ["fashion", "digits"]) == ["digits"]
    assert nearest("xyzzy", ["fashion", "digits"]) == []


def test_there_are_at_most_as_many_as_asked_for() -> None:
    assert len(nearest("dmd", ["dmd1", "dmd2", "dmd3", "dmd4"])) == 3
    assert len(nearest("dmd", ["dmd1", "dmd2", "dmd3", "dmd4"], limit=1)) == 1


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    error = unknown("task", "digit", ["fashion", "digits"])
    assert isinstance(error, UserError)
    assert str(error) == "unknown task 'digit'; did you mean 'digits'?"


def test_an_unknown_name_like_no_other_is_answered_with_all() -> None:
    assert str(unknown("task", "xyzzy", {"fashion", "digits"})) == "unknown task 'xyzzy'; valid: digits, fashion"


def test_a_name_of_two_kinds_is_named_once() -> None:
    said = str(unknown("name", "digit", ["digits", "digits", "fashion"]))
    assert said == "unknown name 'digit'; did you mean 'digits'?"


def test_a_fix_is_added_where_there_is_none_and_taken_off_for_a_better_one() -> None:
    assert with_fix(UserError("it is cut short"), "download it again") == "it is cut short; fix: download it again"
    assert with_fix(UserError("it is small; fix: make it large"), "leave it") == "it is small; fix: make it large"
    assert without_fix(UserError("it is small; fix: make it large")) == "it is small"
    assert without_fix("it is small") == "it is small"


def test_an_unknown_name_where_there_are_none() -> None:
    assert str(unknown("task", "digits", [])) == "unknown task 'digits'; there are none"


def test_names_may_come_from_a_generator() -> None:
    assert "did you mean 'kid'" in str(unknown("metric", "kdi", (name for name in ("fd", "kid"))))


def test_whole_numbers_are_counted_to_the_last_digit() -> None:
    assert (counted(1, "job"), counted(1_281_167, "image")) == ("1 job", "1281167 images")
    assert (counted(0.5, "hour"), counted(2.0, "hour")) == ("0.5 hours", "2 hours")
