"""Raters' files are read with suspicion: each refusal names the file and the reason."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_support import Study

from bench.core.errors import UserError
from bench.core.files import digest
from bench.report.study.answers import read_answers
from bench.report.study.key import read_key
from bench.report.study.results import result_of
from bench.report.study.words import lines


def test_complete_answers_are_read(study: Study) -> None:
    paths = [study.sent(name, study.answers(name, range(8))) for name in ("anna", "ben")]
    assert [one.rater for one in read_answers(paths, study.key)] == ["anna", "ben"]


def test_files_that_are_not_there_are_told_with_what_to_give(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file of answers .*anna\.json; fix: name a file"):
        read_answers([tmp_path / "anna.json"], study.key)
    with pytest.raises(UserError, match=r"there is no key .*study\.key\.json; fix: give the file \*\.key\.json"):
        read_key(tmp_path / "study.key.json")


def _pair_away(content: dict[str, Any]) -> None:
    content["answers"].pop()


def _pair_twice(content: dict[str, Any]) -> None:
    content["answers"].append(content["answers"][0])


def _pair_unknown(content: dict[str, Any]) -> None:
    content["answers"][0]["pair"] = "f" * 16


def _no_choice(content: dict[str, Any]) -> None:
    content["answers"][0]["choices"][0] = "both"


def _one_choice(content: dict[str, Any]) -> None:
    content["answers"][0]["choices"].pop()


def _other_study(content: dict[str, Any]) -> None:
    content["study"] = "0" * 64


def _other_questions(content: dict[str, Any]) -> None:
    content["questions"] = ["which is cheaper"]


def _escape_in_code(content: dict[str, Any]) -> None:
    content["rater"] = "\x1b[31mred"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_pair_away, "1 of 8 pairs are missing"),
        (_pair_twice, "answers pairs twice"),
        (_pair_unknown, "not in the study: ffffffffffffffff"),
        (_no_choice, "answers.0.choices.0"),
        (_one_choice, "one answer for each question"),
        (_other_study, "answers another study, 000000000000"),
        (_other_questions, "which is cheaper"),
        (_escape_in_code, "rater"),
    ],
)
def test_changed_answers_are_refused(study: Study, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    content = study.answers("anna", range(8))
    change(content)
    path = study.sent("anna", content)
    with pytest.raises(UserError, match=reason) as refused:
        read_answers([path], study.key)
    assert str(path) in str(refused.value)


def test_an_edit_without_a_new_checksum_is_refused(study: Study) -> None:
    content = study.answers("anna", range(8))
    checksum = digest(content)
    content["answers"][0]["choices"][0] = "left" if content["answers"][0]["choices"][0] == "right" else "right"
    with pytest.raises(UserError, match=r"answers-anna\.json is refused: its checksum does not fit"):
        read_answers([study.sent("anna", content, checksum)], study.key)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000, '{"version": NaN}'])
def test_a_file_that_is_no_answers_is_refused(study: Study, text: str) -> None:
    path = study.folder.parent / "broken.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json is refused"):
        read_answers([path], study.key)


def test_the_same_rater_twice_is_refused(study: Study) -> None:
    first = study.sent("anna", study.answers("anna", range(8)))
    again = study.answers("anna", ()) | {"session": "0" * 32}
    with pytest.raises(UserError, match="is of the same rater, anna"):
        read_answers([first, study.sent("again", again)], study.key)


@pytest.mark.parametrize("session", [None, "0" * 32], ids=["as it is", "with another session"])
def test_the_same_answers_under_two_names_are_refused(study: Study, session: str | None) -> None:
    content = study.answers("anna", range(8))
    copied = copy.deepcopy(content) | {"rater": "ben"} | ({"session": session} if session else {})
    with pytest.raises(UserError, match=r"has the answers of .*answers-anna\.json, under the names ben and anna"):
        read_answers([study.sent("anna", content), study.sent("ben", copied)], study.key)


def test_a_changed_key_is_refused(study: Study) -> None:
    """Swapping the runs in the key would turn the result around."""
    content = json.loads(study.key_path.read_text())
    content["key"]["a"], content["key"]["b"] = content["key"]["b"], content["key"]["a"]
    study.key_path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="was changed since bench study make wrote it"):
        read_key(study.key_path)


def test_a_changed_page_is_noticed(study: Study) -> None:
    study.page.write_text(study.page.read_text() + " ")
    with pytest.raises(UserError, match="is not the page that belongs to"):
        read_key(study.key_path)


def test_the_result_is_what_the_raters_said(study: Study) -> None:
    """Of eight pairs A wins six; one rater of three always disagrees, and the second question splits by halves."""
    raters = {"anna": range(6), "ben": range(6), "cleo": range(6, 8)}
    paths = [study.sent(name, study.answers(name, numbers, range(4))) for name, numbers in raters.items()]
    result = result_of(study.key, read_answers(paths, study.key))
    quality, prompt = result.questions
    assert (quality.pairs.count, quality.pairs.total, quality.ties) == (6, 8, 0)
    assert (quality.answers.count, quality.answers.total) == (6 * 2 + 2, 24)
    assert quality.low < 14 / 24 < quality.high
    assert (prompt.pairs.value, prompt.kappa) == (0.5, pytest.approx(1))
    assert quality.kappa is not None and quality.kappa < 0


def test_ties_are_left_out_and_told(study: Study) -> None:
    paths = [
        study.sent(name, study.answers(name, numbers)) for name, numbers in (("anna", range(8)), ("ben", range(5)))
    ]
    result = result_of(study.key, read_answers(paths, study.key))
    asked = result.questions[0]
    assert (asked.pairs.count, asked.pairs.total, asked.ties) == (5, 5, 3)
    assert "; 3 without a majority are left out" in "\n".join(lines(result))


def test_answers_without_looking_are_told_and_count(study: Study) -> None:
    path = study.sent("hasty", study.answers("hasty", range(8), milliseconds=100))
    result = result_of(study.key, read_answers([path], study.key))
    assert result.questions[0].pairs.count == 8
    assert any("hasty 8 of 8" in remark for remark in result.remarks)


def test_a_rater_who_always_chooses_left_is_seen(make: Callable[..., Study]) -> None:
    study = make(pairs=40)
    content = study.answers("lefty", range(40))
    for answer in content["answers"]:
        answer["choices"] = ["left", "left"]
    result = result_of(study.key, read_answers([study.sent("lefty", content)], study.key))
    left = result.questions[0].left
    assert (left.count, left.total) == (40, 40)
    assert left.p is not None and left.p < 1e-9
