"""Compiled tables: what is averaged, what is never averaged, and what is said about the rest."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.metrics.intervals import t_interval
from bench.records import Record
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
    names = ("iterations", "generator updates", "training images", "train s", "evaluate s", "peak memory", "NFE")
    assert [shown[name] for name in names] == ["500", "100", "32,000", "110", "20", "512.0 MiB", "1"]
    assert shown["compute"] == "0.03 core-hours"


def test_gpus_are_counted_in_gpu_hours(make_record: Make) -> None:
    assert row(table3([make_record(gpu_hours=371.2)]), DMD2)["compute"] == "371 GPU-hours"


def test_the_task_can_be_another_than_the_scales(make_record: Make) -> None:
    suite = load_suite("table3")
    table = suite_table(suite, None, [make_record()], replace(suite.scale("micro"), task="digits"))
    assert table.sections[0].heading == "No records yet"


def test_a_task_table_shows_a_strangers_method(make_record: Make) -> None:
    table = task_table([make_record("my-plugin"), make_record("teacher-ode", None, kind="baseline")], "fashion")
    assert table.sections[0].cells["method"].tolist() == ["teacher-ode", "my-plugin"]


def test_a_table_without_the_papers_other_rows_keeps_the_papers_order() -> None:
    """What answers no row follows the line before it."""
    suite, paper = load_suite("table2"), load_paper_table("table2")
    shown = suite_table(suite, paper, [], "paper").sections[0].cells
    keys = [row.key for row in paper.rows]
    answered = {
        entry.label: entry.paper_row for entry in (*suite.scale("paper").baselines, *suite.scale("paper").rows)
    }
    places = [keys.index(answered[label] or "") for label in shown["method"] if answered[label]]
    assert places == sorted(places)
    labels = shown["method"].tolist()
    assert labels.index("LCM-SDXL, 1 step") == labels.index("LCM-SDXL, 1 step, as in the paper") + 1
    assert labels.index("DMD2, 1 step") == labels.index("DMD2, 1 step, published") + 1


def test_rows_of_the_paper_that_nothing_answers_are_quoted() -> None:
    table = suite_table(load_suite("table1"), load_paper_table("table1"), [], "paper")
    biggan, ours = row(table, "BigGAN-deep"), row(table, "DMD2")
    assert (biggan["paper FID"], biggan["fd"], ours["paper FID"], ours["fd"]) == ("4.06", "–", "1.51", "missing")
    assert table.data["status"].tolist().count("quoted") == 12
    assert not any("BigGAN" in line for line in table.left)


def test_lines_of_one_method_are_told_apart_by_their_recipes(make_record: Make) -> None:
    longer = {"iterations": 150_000, "lr": 5e-7, "critic_lr": 5e-7, "init_from": "runs/first/best"}
    records = [
        make_record(fd=(1.5,), task="imagenet64"),
        make_record(fd=(1.25,), recipe=longer, task="imagenet64"),
        make_record(fd=(1.4,), recipe=longer | {"init_from": None}, task="imagenet64"),
    ]
    section = suite_table(load_suite("table1"), load_paper_table("table1"), records, "paper").sections[0]
    found = section.cells.set_index("method")["FD ↓"]
    assert found["+longer training"] == "1.25 (n=1)"
    assert found["DMD2"].tolist() == ["1.50 (n=1)", "1.40 (n=1)"]


def test_published_students_have_a_line_for_each_number_of_steps(make_record: Make) -> None:
    published = {"method": "diffusers-cd_imagenet64_lpips", "seed": None, "kind": "baseline", "task": "imagenet64"}
    records = [make_record(fd=(6.2,), **published), make_record(fd=(4.7,), nfe=2, **published)]
    table = suite_table(load_suite("table1"), load_paper_table("table1"), records, "paper")
    one, two = (row(table, f"Consistency Model (CD, LPIPS), published{more}") for more in ("", ", 2 steps"))
    assert (one["FD ↓"], one["paper FID"], two["FD ↓"], two["paper FID"]) == ("6.20", "6.20", "4.70", "–")


def test_what_the_metric_noticed_is_a_footnote(make_record: Make) -> None:
    noticed = {"by_factors": True, "clipped": 3, "generated_rank_deficient": True, "generated_without_patch": 12}
    section = table3([make_record(diagnostics=[noticed, {}]), make_record("gan")]).sections[0]
    for told in (
        "FD: the covariance of the generated images lacks full rank (1 of 2 records).",
        "FD: up to 3 negative eigenvalues were taken as zero (1 of 2 records).",
        "FD: up to 12 generated images were too small to have a patch (1 of 2 records).",
    ):
        assert told in section.notes
    assert any("taken from their factors (1 of 2 records)" in note for note in section.notes)
    assert not any("real images" in note for note in section.notes)


def test_a_diversity_is_called_by_the_network_that_sees_it(make_record: Make) -> None:
    """In records from before the heading named it, too."""
    judge = {"lpips": "convolutions of a judge"}
    old = make_record(metric="diversity", title="LPIPS diversity", views=judge)
    assert "Diversity (convolutions of a judge) ↓" in task_table([old], "fashion").sections[0].cells
