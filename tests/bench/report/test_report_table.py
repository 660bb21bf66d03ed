"""Compiled tables: what is averaged, what is never averaged, and what is said about the rest."""

from collections.abc import Callable, Sequence

import pytest

from bench.records import Record, t_interval
from bench.report.table import ReportTable, suite_table, task_table, tidy
from bench.suites import load_paper_table, load_suite

Make = Callable[..., Record]


def table3(records: Sequence[Record]) -> ReportTable:
    return suite_table(load_suite("table3"), load_paper_table("table3"), records, "micro")


def row(table: ReportTable, label: str, section: int = 0) -> dict[str, str]:
    """The cells of the one row with this label."""
    frame = table.sections[section].cells
    (found,) = frame[frame["method"] == label].to_dict("records")
    return found


DMD2 = "DMD, no regression, TTUR, GAN (DMD2)"


def test_tidy_has_a_row_per_record_and_metric_and_one_for_a_failure(make_record: Make) -> None:
    frame = tidy([make_record(seed=0), make_record(seed=1), make_record(seed=2, failed=True)])
    assert frame["train_seed"].tolist() == [0, 1, 2]
    assert frame["metric"].tolist() == ["fd", "fd", ""]
    assert frame["value"].tolist()[:2] == [2.1, 2.1]


def test_seeds_are_averaged_with_students_interval_over_the_seeds(make_record: Make) -> None:
    table = table3([make_record(seed=s, fd=(fd, fd)) for s, fd in enumerate((2.0, 2.5, 3.3))])
    mean, _, _, high = t_interval([2.0, 2.5, 3.3])
    assert row(table, DMD2)["FD ↓"] == f"{mean:.2f} ± {(high or 0) - mean:.2f} (n=3)"
    assert row(table, DMD2)["paper FID"] == "1.51"


def test_one_seed_shows_the_interval_over_generation_seeds(make_record: Make) -> None:
    _, _, low, high = t_interval((2.0, 2.2))
    assert row(table3([make_record()]), DMD2)["FD ↓"] == f"2.10 [{low:.2f}, {high:.2f}] (n=1)"
    assert row(table3([make_record(fd=(2.0,))]), DMD2)["FD ↓"] == "2.00 (n=1)"


def test_baselines_have_rows_without_training_seeds(make_record: Make) -> None:
    table = table3([make_record("teacher-ode", None, (3.0,), kind="baseline")])
    assert row(table, "teacher-ode")["FD ↓"] == "3.00"
    assert row(table, "teacher-sde")["FD ↓"] == "missing"


def test_protocols_are_never_mixed(make_record: Make) -> None:
    records = [make_record(seed=0, fd=(2.0,)), make_record(seed=1, fd=(9.0,), protocol="other")]
    table = table3(records)
    assert [section.heading.split()[1] for section in table.sections] == ["fashion", "other"]
    assert all("1 of 2 tables" in section.heading for section in table.sections)
    assert row(table, DMD2, 0)["FD ↓"] == "2.00 (n=1)"
    assert row(table, DMD2, 1)["FD ↓"] == "9.00 (n=1)"
    assert sorted(table.data["value"].dropna()) == [2.0, 9.0]


def test_smoke_numbers_come_last_and_are_called_so(make_record: Make) -> None:
    table = table3([make_record(protocol="a-smoke", smoke=True), make_record()])
    assert ["smoke" in section.heading for section in table.sections] == [False, True]


def test_recipes_and_selections_are_rows_of_their_own(make_record: Make) -> None:
    records = [
        make_record(seed=0, fd=(2.0,)),
        make_record(seed=1, fd=(3.0,), recipe={"lr": 1e-3}),
        make_record(seed=2, fd=(1.0,), selection="best-by-test-metric"),
    ]
    section = table3(records).sections[0]
    mine = section.cells[section.cells["method"] == DMD2]
    assert mine["FD ↓"].tolist() == ["2.00 (n=1)", "3.00 (n=1)", "1.00 (n=1)"]
    assert mine["checkpoint"].tolist() == ["last, ema", "last, ema", "best-by-test-metric, ema"]
    assert mine["recipe"].str.startswith("lr=0.001").tolist() == [False, True, False]


def test_a_checkpoint_chosen_by_the_test_metric_is_never_the_best(make_record: Make) -> None:
    records = [make_record(fd=(2.0,)), make_record(fd=(1.0,), selection="best-by-test-metric")]
    section = table3([*records, make_record("gan", fd=(4.0,))]).sections[0]
    ((best, column),) = section.best
    assert (column, section.cells.loc[best, column]) == ("FD ↓", "2.00 (n=1)")


def test_a_teacher_is_never_the_best(make_record: Make) -> None:
    records = [make_record("teacher-ode", None, (1.0,), kind="baseline"), make_record(fd=(2.0,))]
    section = table3(records).sections[0]
    assert {section.cells.loc[number, "method"] for number, _ in section.best} == {DMD2}


def test_missing_and_failed_rows_are_shown(make_record: Make) -> None:
    table = table3([make_record("gan", failed=True)])
    assert row(table, "GAN only")["fd"] == "failed: OutOfMemoryError"
    assert row(table, DMD2)["fd"] == "missing"
    assert row(table, DMD2)["paper FID"] == "1.51"


def test_without_any_record_every_row_is_missing() -> None:
    table = table3([])
    assert table.sections[0].heading == "No records yet"
    assert set(table.sections[0].cells["fd"]) == {"missing"}
    assert set(table.data["status"]) == {"missing"}


def test_a_failed_seed_is_counted_beside_the_others(make_record: Make) -> None:
    records = [make_record(seed=0, fd=(2.0,)), make_record(seed=1, failed=True)]
    table = table3([*records, make_record("gan", failed=True)])
    assert row(table, DMD2)["FD ↓"] == "2.00 (n=1; 1 failed)"


def test_a_seed_that_failed_before_it_succeeded_counts_as_a_success(make_record: Make) -> None:
    table = table3([make_record(failed=True), make_record(fd=(2.0,))])
    assert row(table, DMD2)["FD ↓"] == "2.00 (n=1)"


def test_a_run_recorded_twice_counts_once_and_the_newest(make_record: Make) -> None:
    newer = make_record(fd=(3.0,), created="2025-02-01T00:00:00+00:00")
    table = table3([newer, make_record(fd=(2.0,))])
    assert row(table, DMD2)["FD ↓"] == "3.00 (n=1)"
    assert any("recorded twice" in note for note in table.sections[0].notes)


def test_results_of_different_networks_are_never_averaged(make_record: Make) -> None:
    """The same declaration trained on two machines gives two feature networks: two quantities, two tables."""
    same = table3([make_record(seed=0, fd=(2.0,)), make_record(seed=1, fd=(2.2,))])
    other = table3([make_record(seed=0, fd=(2.0,)), make_record(seed=1, fd=(9.0,), features="cd")])
    assert [section.heading.count("networks") for section in same.sections] == [0]
    assert [section.heading.count("networks") for section in other.sections] == [1, 1]
    assert row(other, DMD2)["FD ↓"] == "2.00 (n=1)"


@pytest.mark.parametrize(
    "expected",
    [
        "Protocol fashion, SHA-256",
        "Training seeds: 0, 1.",
        "Budget: 500 iterations.",
        "Machines: a laptop, 1 thread(s), float32.",
        "Checkpoint selection: last (ema weights).",
        "95% Student-t interval",
    ],
)
def test_footnotes_say_what_the_numbers_share(make_record: Make, expected: str) -> None:
    section = table3([make_record(seed=0), make_record(seed=1)]).sections[0]
    assert any(expected in note for note in section.notes)


def test_cost_is_shown(make_record: Make) -> None:
    shown = row(table3([make_record()]), DMD2)
    names = ("iterations", "generator updates", "generated images", "train s", "peak memory", "NFE")
    assert [shown[name] for name in names] == ["500", "100", "32,000", "110", "512.0 MiB", "1"]


def test_the_task_can_be_another_than_the_scales(make_record: Make) -> None:
    table = suite_table(load_suite("table3"), None, [make_record()], "micro", task="digits")
    assert table.sections[0].heading == "No records yet"


def test_a_task_table_shows_a_strangers_method(make_record: Make) -> None:
    table = task_table([make_record("my-plugin"), make_record("teacher-ode", None, kind="baseline")], "fashion")
    assert table.sections[0].cells["method"].tolist() == ["teacher-ode", "my-plugin"]
