"""A study's result is a record of run A, which tables show apart from all measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from study_support import Study

from bench.core.errors import UserError
from bench.core.files import digest
from bench.report.render import to_markdown
from bench.report.study.answers import read_answers
from bench.report.study.record import find_record, record_of_study, write_study_record
from bench.report.study.results import StudyResult, result_of
from bench.report.study.statistics import share
from bench.report.summary import PAIRS, summarise, tidy
from bench.report.table import suite_table, task_table
from bench.runs.record import Record
from bench.runs.records import load_records, read_record
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite


def result(study: Study, won: int = 6) -> StudyResult:
    """The result of three raters who agree."""
    names = ("anna", "ben", "cleo")
    paths = [study.sent(name, study.answers(name, range(won))) for name in names]
    return result_of(study.key, read_answers(paths, study.key))


def record(study: Study, won: int = 6) -> Record:
    """The study's record."""
    path = find_record(study.key, study.runs)
    assert path is not None
    of_a = read_record(path)
    return record_of_study(of_a, result(study, won), of_a.provenance)


def test_the_record_has_the_preference_with_its_exact_interval(study: Study) -> None:
    made, exact = record(study), share(6, 8)
    assert [one.name for one in made.metrics] == ["preference", "prompt-preference"]
    one = made.metrics[0]
    assert (one.value, one.low, one.high, one.direction) == (0.75, exact.low, exact.high, "higher")
    assert one.title == "preference over teacher-secret"
    assert Record.model_validate_json(made.model_dump_json()) == made


def test_the_protocol_says_what_was_asked_and_compared(study: Study) -> None:
    protocol, key = record(study).protocol, study.key
    assert (protocol["name"], protocol["pairs"], protocol["raters"]) == ("study", 8, 3)
    assert protocol["study"] == key.digest()
    assert protocol["against"] == key.b.model_dump(mode="json")
    assert list(protocol["questions"].values()) == [
        "Which image is more visually appealing?",
        "Which image better represents the text prompt?",
    ]


def test_the_record_does_not_name_the_raters(study: Study) -> None:
    text = record(study).model_dump_json()
    assert not [name for name in ("anna", "ben", "cleo") if name in text.replace("bench", "")]


def test_tables_show_it_in_a_section_of_its_own(study: Study, make_record: Callable[..., Record]) -> None:
    found = load_records([study.runs]).records
    table = task_table([*found, make_record("gan"), record(study)], "fashion")
    measured, asked = table.sections
    assert "FD ↓" in measured.cells.columns
    assert not [column for column in measured.cells.columns if "preference" in column]
    assert asked.cells["method"].tolist() == ["dmd2-secret"]
    assert "FD ↓" not in asked.cells.columns
    cell = asked.cells["preference over teacher-secret ↑"][0]
    assert cell == "0.750 [0.349, 0.968] over pairs (n=1)"
    notes = " ".join(asked.notes)
    assert "exact (Clopper-Pearson) 95 % interval over pairs" in notes
    assert "Student" not in notes and "generation seed" not in notes
    assert "The paper's studies had 5 raters and 128 pairs; this one has 3 and 8." in notes
    assert "preference over teacher-secret ↑" in to_markdown(table)


def test_a_strangers_incomplete_study_is_told_and_breaks_nothing(make_record: Callable[..., Record]) -> None:
    """Records come from anyone."""
    protocol = {"name": "study", "kind": "user study", "against": 7}
    odd = make_record().model_copy(update={"protocol": protocol, "protocol_sha256": digest(protocol)})
    (section,) = task_table([odd], "fashion").sections
    assert "whose protocol is not complete" in section.notes[0]


def test_the_interval_of_a_measurement_is_still_over_generation_seeds(
    study: Study, make_record: Callable[..., Record]
) -> None:
    rows = summarise(tidy([make_record(), record(study)])).set_index("metric")
    assert rows.loc["fd", "interval"] == "generation seeds"
    assert rows.loc["preference", "interval"] == PAIRS


def test_a_suite_has_no_part_in_it(study: Study) -> None:
    """A study is no result of a suite's row: it neither fills a line nor adds a section."""
    suite, paper = load_suite("table3"), load_paper_table("table3")
    tables = [suite_table(suite, paper, records, "micro") for records in ([], [record(study)])]
    assert tables[0].left == tables[1].left
    assert [len(table.sections) for table in tables] == [1, 1]


def test_it_is_written_beside_the_runs_other_results_and_reading_twice_changes_nothing(study: Study) -> None:
    path = find_record(study.key, study.runs)
    assert path is not None
    target = write_study_record(path, record(study), study.runs)
    assert target.parent == path.parent / "protocols"
    before = target.read_bytes()
    assert write_study_record(path, record(study), study.runs) == target
    assert target.read_bytes() == before
    assert len(load_records([study.runs]).records) == 3


def test_a_committed_records_study_is_written_among_the_runs(study: Study, tmp_path: Path) -> None:
    path = find_record(study.key, study.runs)
    assert path is not None
    committed = path.rename(tmp_path / "committed.json")
    of_a = read_record(committed)
    made = record_of_study(of_a, result(study), of_a.provenance)
    target = write_study_record(committed, made, study.runs)
    assert target.parent == study.runs
    assert target in load_records([study.runs]).paths


def test_a_run_that_is_elsewhere_has_no_record(study: Study, tmp_path: Path) -> None:
    assert find_record(study.key, tmp_path / "other") is None


def test_a_record_that_was_replaced_is_noticed(study: Study) -> None:
    path = find_record(study.key, study.runs)
    assert path is not None
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match="was replaced since the study was made"):
        find_record(study.key, study.runs)
