"""The sides of a comparison: what names stand for, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.report.selection import Selection
from bench.runs.record import Record
from bench.runs.records import Loaded, write_record
from bench.runs.suites.reading import load_suite

Records = Callable[..., Record]
TABLE3 = load_suite("table3")


def selection(*records: Record) -> Selection:
    return Selection(Loaded(list(records), [], [Path(f"{record.run_id}.json") for record in records]))


def test_a_method_is_all_its_training_seeds_in_their_order(make_record: Records) -> None:
    found = selection(
        make_record(seed=2), make_record(seed=0), make_record("gan"), make_record(seed=1, failed=True)
    )
    side = found.side("dmd2", "fashion")
    assert [record.train_seed for record in side.records] == [0, 2]
    assert (side.label, side.whole) == ("dmd2", True)


def test_the_newest_record_of_a_seed_counts(make_record: Records) -> None:
    old, new = (
        make_record(),
        make_record(created="2026-01-01T00:00:00+00:00").model_copy(update={"run_id": "again"}),
    )
    assert selection(old, new).side("dmd2", None).first.run_id == "again"


def test_of_a_run_that_was_recorded_twice_the_newest_counts_as_in_tables(make_record: Records) -> None:
    old, new = make_record(fd=(2.0, 2.2)), make_record(fd=(3.0, 3.2), created="2026-01-01T00:00:00+00:00")
    assert old.run_id == new.run_id
    for records in ((old, new), (new, old)):
        assert selection(*records).side("dmd2", None).records == [new]


def test_results_of_two_teachers_are_both_kept_and_named_by_their_files(make_record: Records) -> None:
    """A sampler has the same id whatever its teacher, here that of this machine and that of committed records."""
    mine, committed = (make_record("teacher-ode", None, kind="baseline", features=one) for one in ("ab", "cd"))
    found = selection(mine, committed)
    assert mine.run_id == committed.run_id and len(found.found) == 2
    with pytest.raises(UserError, match=r"different networks \(features\).* fix: name files, .*--no-committed"):
        found.side("teacher-ode", None)


def test_beside_a_student_its_own_teacher_is_meant(make_record: Records) -> None:
    own, other = (make_record("teacher-ode", None, kind="baseline", features=one) for one in ("ab", "cd"))
    student = make_record("dmd2", features="ab")
    assert selection(own, other, student).sides(["dmd2", "teacher-ode"], None)[1].records == [own]
    both = selection(own, other, student, make_record("gan", features="cd"))
    with pytest.raises(UserError, match=r"teacher-ode has results of different networks"):
        both.sides(["dmd2", "gan", "teacher-ode"], None)


def test_a_run_is_named_by_its_id_or_an_unambiguous_beginning(make_record: Records) -> None:
    named = {seed: make_record(seed=seed).model_copy(update={"run_id": f"dmd2-s{seed}-ab"}) for seed in (0, 1)}
    found = selection(*named.values())
    assert found.side("dmd2-s1", None).first == named[1]
    assert not found.side("dmd2-s1-ab", None).whole
    with pytest.raises(
        UserError, match=r"'dmd2-s' is the beginning of .*dmd2-s0-ab, .*dmd2-s1-ab; fix: write more"
    ):
        found.side("dmd2-s", None)


def test_the_beginning_of_a_run_that_was_measured_under_more_protocols_is_that_of_the_run(
    make_record: Records,
) -> None:
    """After bench eval --metric, whose records have longer ids."""
    run, other = make_record(), make_record(protocol="fashion.recall")
    more = other.model_copy(update={"run_id": f"{run.run_id}-abcdef"})
    found = selection(more, run)
    assert found.side(run.run_id[:-3], None).records == [run]
    assert found.side(more.run_id[:-3], None).records == [more]
    with pytest.raises(UserError, match=r"fix: choose one: --protocol fashion$"):
        found.side("dmd2", None)


def test_the_protocol_that_is_proposed_is_never_that_of_a_sweep(make_record: Records) -> None:
    """Its seeds chose a point, and no reported number has them; the task's own may have another name."""
    run, swept = make_record(protocol="mine"), make_record(protocol="mine.sweep-100x2")
    with pytest.raises(UserError, match=r"fix: choose one: --protocol mine$"):
        selection(swept, run).side("dmd2", None)


def test_a_run_is_named_by_its_folder_or_its_records_file(make_record: Records, tmp_path: Path) -> None:
    record = make_record()
    for path, name in (("run/record.json", "run"), ("a.json", "a.json")):
        write_record(tmp_path / path, record)
        assert selection().side(str(tmp_path / name), None).first == record
    with pytest.raises(UserError, match=r"is no finished run's folder: it has no record.json; fix"):
        selection().side(str(tmp_path), None)


def test_a_run_s_folder_has_the_result_of_the_protocol_that_was_chosen(
    make_record: Records, tmp_path: Path
) -> None:
    own, other, best = make_record(), make_record(protocol="other"), make_record(protocol="other", seed=1)
    places = {
        "run/record.json": own,
        "run/protocols/other-ab.json": other,
        "run/protocols/best-other-ab.json": best,
    }
    for place, record in places.items():
        write_record(tmp_path / place, record)
    loaded = Loaded([other], [], [Path("others.json")])
    assert Selection(loaded).side(str(tmp_path / "run"), None).first == own
    assert Selection(loaded, "other").side(str(tmp_path / "run"), None).first == other
    with pytest.raises(
        UserError, match=r"record\.json has no result under protocol 'other', but under fashion; fix"
    ):
        Selection(loaded, "other").side(str(tmp_path / "run" / "record.json"), None)


def test_a_user_study_is_no_side_of_a_comparison(make_record: Records) -> None:
    measured = make_record().model_copy(update={"run_id": "dmd2-s0-ab"})
    asked = measured.model_copy(update={"run_id": "dmd2-s0-ab-cd", "protocol": {"kind": "user study"}})
    found = selection(asked, measured)
    assert found.side("dmd2", None).records == found.side("dmd2-s0", None).records == [measured]
    with pytest.raises(UserError, match=r"dmd2-s0-ab-cd is a user study.*fix: bench report --task fashion"):
        found.sides(["dmd2-s0-ab-cd", "dmd2-s0-ab"], None)


def test_one_of_several_protocols_is_chosen_by_name_or_digest(make_record: Records) -> None:
    usual, large = make_record(), make_record(protocol="large")
    with pytest.raises(UserError, match=r"under protocol .*, protocol .*; fix: choose one: --protocol \w{6}"):
        selection(usual, large).side("dmd2", None)
    loaded = Loaded([usual, large], [], [Path("a.json"), Path("b.json")])
    for name in ("large", large.protocol_sha256[:6]):
        assert Selection(loaded, name).side("dmd2", None).first == large
    with pytest.raises(UserError, match=r"unknown protocol with records: 'larg'; did you mean 'large'"):
        Selection(loaded, "larg")


def test_several_recipes_are_listed_with_the_way_to_name_each(make_record: Records) -> None:
    found = selection(make_record(), make_record(recipe={"lr": 1e-5}))
    with pytest.raises(UserError, match=r"dmd2 has results of 2 recipes; fix: name one: dmd2#\w{6}") as error:
        found.side("dmd2", None)
    names = [name.split(" ")[0].rstrip(",") for name in str(error.value).split("name one: ")[1].split(", ")]
    sides = [found.side(name, None) for name in names]
    assert {side.first.method.passed.get("lr") for side in sides} == {None, 1e-5}
    with pytest.raises(UserError, match=r"dmd2 has no recipe #zz"):
        found.side("dmd2#zz", None)


def test_several_tasks_or_protocols_of_a_method_are_refused(make_record: Records) -> None:
    with pytest.raises(UserError, match=r"results on digits, fashion; fix: choose one: --task digits"):
        selection(make_record(), make_record(task="digits", seed=1)).side("dmd2", None)
    with pytest.raises(UserError, match=r"under protocol fashion \w{12} on fashion, protocol other \w{12}"):
        selection(make_record(), make_record(protocol="other")).side("dmd2", None)


def test_an_unknown_name_gets_the_nearest(make_record: Records) -> None:
    with pytest.raises(UserError, match=r"'dmb2'; did you mean 'dmd2'"):
        selection(make_record(), make_record("gan")).side("dmb2", "fashion")
    with pytest.raises(UserError, match=r"unknown task with records 'fashoin'; did you mean 'fashion'"):
        selection(make_record()).side("dmd2", "fashoin")
    with pytest.raises(UserError, match=r"there are no records; fix"):
        selection().side("dmd2", None)


def test_other_protocols_and_networks_are_refused_by_name(make_record: Records) -> None:
    one, other = make_record("gan"), make_record(protocol="other")
    with pytest.raises(
        UserError, match=r"gan was measured under protocol fashion .* and dmd2 under protocol other"
    ):
        selection(one, other).sides(["gan", "dmd2"], None)
    with pytest.raises(UserError, match=r"gan and dmd2 depend on different networks: features"):
        selection(one, make_record(features="cd")).sides(["gan", "dmd2"], None)


def test_images_from_outside_are_compared_with_students_of_any_teacher_but_those_never_with_each_other(
    make_record: Records,
) -> None:
    given = make_record("mine", None, kind="baseline")
    features = given.weights[0]

    def student(method: str, teacher: str, network: str = features.sha256) -> Record:
        weights = (("teacher", teacher * 32), ("features", network))
        assets = [features.model_copy(update={"role": role, "sha256": sha256}) for role, sha256 in weights]
        return make_record(method).model_copy(update={"weights": assets})

    assert features.role == "features" and len(given.weights) == 1
    ours, theirs = student("dmd2", "ab"), student("gan", "cd")
    found = selection(given, ours, theirs)
    for names in (["mine", "dmd2"], ["gan", "mine"]):
        assert [side.label for side in found.sides(names, None)] == names
    with pytest.raises(UserError, match=r"dmd2 and gan depend on different networks: teacher"):
        found.sides(["mine", "dmd2", "gan"], None)
    with pytest.raises(UserError, match=r"mine and sid depend on different networks: features"):
        selection(given, student("sid", "ab", "ef" * 32)).sides(["mine", "sid"], None)


def test_a_failed_run_and_a_result_named_twice_are_refused(make_record: Records) -> None:
    failed = make_record("gan", failed=True)
    with pytest.raises(UserError, match=r"has no result: it failed with OutOfMemoryError; fix: bench logs"):
        selection(make_record(), failed).sides(["dmd2", failed.run_id], None)
    one = make_record()
    with pytest.raises(UserError, match="have results in common"):
        selection(one).sides(["dmd2", one.run_id], None)
    for names in ([], ["dmd2"]):
        with pytest.raises(UserError, match="takes two or more"):
            selection(one).sides(names, None)


def test_a_suite_is_its_rows_with_results_in_the_papers_order(make_record: Records) -> None:
    ode = make_record("teacher-ode", None, kind="baseline")
    found = selection(make_record("gan"), make_record("dmd"), ode)
    sides = found.suite(TABLE3, TABLE3.scale("micro"))
    assert [side.label for side in sides] == ["teacher-ode", "DMD (with regression)", "GAN only"]
    with pytest.raises(
        UserError, match=r"table3 has results of teacher-ode alone on fashion.*fix: bench reproduce table3"
    ):
        selection(ode).suite(TABLE3, TABLE3.scale("micro"))


def test_a_row_with_several_recipes_is_several_sides_as_in_tables(make_record: Records) -> None:
    """A trial with other values must not stop the comparison of a suite."""
    found = selection(make_record(), make_record(recipe={"iterations": 100}), make_record("dmd"))
    labels = [side.label for side in found.suite(TABLE3, TABLE3.scale("micro"))]
    name = "DMD, no regression, TTUR, GAN (DMD2)"
    assert len(labels) == 3 and labels[0] == "DMD (with regression)"
    assert {label[: label.index(" #")] for label in labels[1:]} == {f"{name}, default", f"{name}, iterations=100"}
