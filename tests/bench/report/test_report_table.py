"""Compiled tables: what is averaged, what is never averaged, and what is said about the rest."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.core.files import digest
from bench.metrics.intervals import t_interval
from bench.report.cells import one_result
from bench.report.table import ReportTable, suite_table, task_table, tidy
from bench.runs.recipes import FilledRecipes, defaults
from bench.runs.record import Record
from bench.runs.records import load_records
from bench.runs.registry import Catalogue, Registry, load_catalogue
from bench.runs.result_files import RESULTS
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite
from bench.training.alarms import AlarmNote
from bench.training.recipe import Recipe
from methods.recipes import DMDRecipe

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
    assert row(table, DMD2)["FD ↓"] == f"{mean:.2f} ± {(high or 0) - mean:.2f} over training seeds (n=3)"
    assert row(table, DMD2)["paper FID"] == "1.51"


def test_one_seed_shows_the_interval_over_generation_seeds(make_record: Make) -> None:
    _, _, low, high = t_interval((2.0, 2.2))
    assert (
        row(table3([make_record()]), DMD2)["FD ↓"] == f"2.10 [{low:.2f}, {high:.2f}] over generation seeds (n=1)"
    )
    assert row(table3([make_record(fd=(2.0,))]), DMD2)["FD ↓"] == "2.00 (n=1)"


def test_baselines_have_rows_without_training_seeds(make_record: Make) -> None:
    table = table3([make_record("teacher-ode", None, (3.0,), kind="baseline")])
    assert row(table, "teacher-ode")["FD ↓"] == "3.00"
    assert row(table, "teacher-sde")["FD ↓"] == "missing"


def test_a_table_of_a_task_calls_nothing_missing_under_a_protocol_that_it_was_not_asked_for(
    make_record: Make,
) -> None:
    """The points of a sweep have a protocol of their own, and so has what is sampled in bf16."""
    records = [make_record("dmd2"), make_record("teacher-ode+steps4", None, kind="baseline", protocol="sweep")]
    table = task_table(records, "fashion")
    assert [[*section.cells["method"]] for section in table.sections] == [["dmd2"], ["teacher-ode+steps4"]]
    assert set(table.data["status"]) == {"ok"}


def test_protocols_are_never_mixed(make_record: Make) -> None:
    records = [make_record(seed=0, fd=(2.0,)), make_record(seed=1, fd=(9.0,), protocol="other")]
    table = table3(records)
    assert [section.heading.split()[1] for section in table.sections] == ["fashion", "other"]
    assert all("1 of 2 tables" in section.heading for section in table.sections)
    assert row(table, DMD2, 0)["FD ↓"] == "2.00 (n=1)"
    assert row(table, DMD2, 1)["FD ↓"] == "9.00 (n=1)"
    assert sorted(table.data["value"].dropna()) == [2.0, 9.0]


def test_results_without_a_teacher_are_compared_with_those_that_share_what_measures_them(
    make_record: Make,
) -> None:
    """`bench compare` compares images from outside with students of any teacher, and never students of two."""
    outside = make_record("mine", None, (3.0,), kind="baseline")
    (features,) = outside.weights

    def student(teacher: str) -> Record:
        weights = (features, features.model_copy(update={"role": "teacher", "sha256": teacher * 64}))
        return make_record(fd=(2.0,)).model_copy(update={"weights": weights})

    records = [outside, student("1"), student("2")]
    headings = [section.heading for section in task_table(records, "fashion").sections]
    networks = [record.networks_sha256[:8] for record in records]
    for own, heading in zip(networks, headings, strict=True):
        others = networks[1:] if own == networks[0] else networks[:1]
        assert f"networks {own} (1 of 3 tables: compare with networks {', '.join(others)} alone)" in heading


def test_samplers_without_any_student_of_the_suite_have_no_table_and_are_named(make_record: Make) -> None:
    sampler = make_record("teacher-ode", None, (3.0,), kind="baseline", protocol="other")
    table = table3([make_record(fd=(2.0,)), sampler])
    assert [section.heading.split()[1] for section in table.sections] == ["fashion"]
    assert "than any student of this suite are in `bench report --task fashion`" in table.note
    alone = table3([sampler])
    assert row(alone, "teacher-ode")["FD ↓"] == "3.00" and "Samplers" not in alone.note


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


def several(make_record: Make, method: str, *fds: float, **more: Any) -> list[Record]:
    """Records of one method, one training seed each, whose generation seeds hardly differ."""
    return [make_record(method, seed, (fd - 0.01, fd + 0.01), **more) for seed, fd in enumerate(fds)]


def bold(table: ReportTable) -> set[str]:
    section = table.sections[0]
    return {section.cells.loc[number, "method"] for number, _ in section.best}


def test_bold_is_what_is_better_than_all_others_beyond_the_intervals_over_training_seeds(
    make_record: Make,
) -> None:
    clear = several(make_record, "dmd2", 6.0, 6.1, 6.2) + several(make_record, "gan", 9.0, 9.1, 9.2)
    assert bold(table3(clear)) == {DMD2}
    assert bold(table3([*clear, *several(make_record, "dmd", 6.3, 6.4, 6.5)])) == set()


def test_the_spread_of_generation_seeds_makes_nothing_bold(make_record: Make) -> None:
    """One training seed each, far apart beside the generation seeds' interval: no rank follows."""
    one = several(make_record, "dmd2", 6.0) + several(make_record, "gan", 9.0)
    assert bold(table3(one)) == set()
    assert bold(table3([*several(make_record, "dmd2", 6.0, 6.1, 6.2), *several(make_record, "gan", 9.0)])) == set()


def test_a_row_alone_is_not_bold(make_record: Make) -> None:
    assert bold(table3(several(make_record, "dmd2", 6.0, 6.1, 6.2))) == set()


def test_higher_is_better_where_the_metric_says_so(make_record: Make) -> None:
    rows = several(make_record, "dmd2", 0.5, 0.51, 0.52) + several(make_record, "gan", 0.9, 0.91, 0.92)
    turned = [
        one.model_copy(update={"metrics": [one.metrics[0].model_copy(update={"direction": "higher"})]})
        for one in rows
    ]
    assert bold(table3(turned)) == {"GAN only"}


def test_a_checkpoint_chosen_by_the_test_metric_is_never_the_best(make_record: Make) -> None:
    chosen = several(make_record, "dmd2", 1.0, 1.1, 1.2, selection="best-by-test-metric")
    rows = several(make_record, "dmd2", 6.0, 6.1, 6.2) + several(make_record, "gan", 9.0, 9.1, 9.2)
    section = table3([*chosen, *rows]).sections[0]
    ((best, column),) = section.best
    assert (column, section.cells.loc[best, "checkpoint"]) == ("FD ↓", "last, ema")


def test_a_teacher_is_never_the_best(make_record: Make) -> None:
    records = [make_record("teacher-ode", None, (1.0, 1.01), kind="baseline")]
    rows = several(make_record, "dmd2", 6.0, 6.1, 6.2) + several(make_record, "gan", 9.0, 9.1, 9.2)
    assert bold(table3([*records, *rows])) == {DMD2}


def test_records_from_before_a_recipe_gained_a_field_pool_with_later_ones(
    make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field with a default is what was done before there was one; another value is another recipe."""

    class Longer(DMDRecipe):
        """The recipe of a later version."""

        added: tuple[float, float] = (0.5, 1.0)

    found = load_catalogue().methods.get("dmd2")
    later = replace(found, recipe_model=lambda: Longer)
    monkeypatch.setattr(Registry, "get", lambda *_: later)

    def made(seed: int, fd: float, **recipe: object) -> Record:
        record = make_record(seed=seed, fd=(fd,), recipe={"lr": 6e-4, **recipe})
        return record.model_copy(
            update={"method": record.method.model_copy(update={"distiller": later.distiller})}
        )

    table = table3([made(0, 2.0), made(1, 3.0, added=[0.5, 1.0]), made(2, 9.0, added=[0.5, 2.0])])
    cells = table.sections[0].cells
    shown = cells[cells["method"] == DMD2]["FD ↓"].tolist()
    assert [text.split()[0] + text[text.index("(") :] for text in shown] == ["2.50(n=2)", "9.00(n=1)"]


def test_a_strangers_records_pool_when_all_recipes_gain_a_field(make_record: Make) -> None:
    old = make_record("my-plugin", 0, (2.0,))
    values = {**defaults(Recipe), **old.method.recipe}
    new = make_record("my-plugin", 1, (3.0,))
    new = new.model_copy(update={"method": new.method.model_copy(update={"recipe": values})})
    assert task_table([old, new], "fashion").data["n_seeds"].tolist() == [2]


def test_committed_records_pool_with_a_run_of_today(catalogue: Catalogue) -> None:
    """A record's recipe and what the same command resolves to today are one recipe."""
    found = load_records([RESULTS / "records"])
    assert found.records and not found.problems
    filled = FilledRecipes()
    for record in found.records:
        if record.kind == "method":
            task = catalogue.tasks.get(record.task)
            method = catalogue.methods.get(record.method.name)
            today = method.recipe(task.recipes or task.name, task.scale, record.method.passed)
            assert filled(record.method) == today.model_dump(mode="json"), record.run_id


def test_kid_is_shown_times_1000_with_its_standard_error(make_record: Make) -> None:
    noticed = [{"standard_error": 0.003}, {"standard_error": 0.004}]
    scaled = {"metric": "kid-rms", "title": "KID of fashion-cnn64 / RMS", "diagnostics": noticed}
    table = task_table([make_record(fd=(0.02, 0.03), **scaled)], "fashion")
    _, _, low, high = t_interval((20.0, 30.0))
    cell = table.sections[0].cells["KID of fashion-cnn64 / RMS × 1,000 ↓"].item()
    error = 1000 * ((0.003**2 + 0.004**2) / 2) ** 0.5
    assert cell == f"25.00 [{low:.2f}, {high:.2f}] over generation seeds (n=1; SE {error:.2f} over images)"
    assert table.data["value"].item() == pytest.approx(0.025)
    assert table.data["standard_error"].item() == pytest.approx(error / 1000)


def test_the_footnote_on_kid_stands_under_tables_that_show_it(make_record: Make) -> None:
    record = make_record(fd=(0.02, 0.03), metric="kid-rms", title="KID of fashion-cnn64 / RMS")

    def explained(table: ReportTable) -> list[bool]:
        return [any(note.startswith("KID: ") for note in section.notes) for section in table.sections]

    assert explained(task_table([record], "fashion")) == [True]
    assert explained(table3([record])) == [False]


def test_kid_of_unscaled_features_is_never_in_a_column_with_the_scaled(make_record: Make) -> None:
    """Old records call both `kid`: on digits it was 14,961."""
    old = make_record(seed=0, fd=(14961.0,), metric="kid", title="KID")
    new = make_record(seed=1, fd=(0.02,), metric="kid-rms", title="KID of fashion-cnn64 / RMS")
    table = task_table([old, new], "fashion")
    assert not any("14961" in str(text) for text in table.sections[0].cells.to_numpy().ravel())
    assert any("KID of 1 record(s) is left out" in note for note in table.sections[0].notes)
    assert dict(zip(table.data["metric"], table.data["value"], strict=True)) == {
        "kid-unscaled": 14961.0,
        "kid-rms": 0.02,
    }


def test_kid_of_an_inception_is_the_published_one_in_old_records_too(make_record: Make) -> None:
    record = make_record(fd=(0.002,), metric="kid", title="KID")
    declared = record.protocol | {"features": "inception-2015-12-05"}
    record = record.model_copy(update={"protocol": declared, "protocol_sha256": digest(declared)})
    assert task_table([record], "fashion").sections[0].cells["KID × 1,000 ↓"].item() == "2.00 (n=1)"


def test_damaged_diagnostics_have_no_standard_error(make_record: Make) -> None:
    odd = [{"standard_error": None}, {}, {"standard_error": True}]
    table = task_table([make_record(diagnostics=odd)], "fashion")
    assert table.data["standard_error"].isna().all()


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


def test_rows_that_all_failed_say_so_in_the_columns_of_their_protocol(make_record: Make) -> None:
    failed = make_record(failed=True)
    protocol = failed.protocol | {"metrics": ["fd", "recall"]}
    failed = failed.model_copy(update={"protocol": protocol, "protocol_sha256": digest(protocol)})
    (section,) = task_table([failed], "fashion").sections
    assert section.cells[["fd", "recall"]].to_numpy().tolist() == [["failed: OutOfMemoryError"] * 2]
    assert "  " not in " ".join(section.notes)


def test_a_failed_seed_is_counted_beside_the_others(make_record: Make) -> None:
    records = [make_record(seed=0, fd=(2.0,)), make_record(seed=1, failed=True)]
    table = table3([*records, make_record("gan", failed=True)])
    assert row(table, DMD2)["FD ↓"] == "2.00 (n=1; 1 failed)"


def test_a_seed_that_failed_before_it_succeeded_counts_as_a_success(make_record: Make) -> None:
    table = table3([make_record(failed=True), make_record(fd=(2.0,))])
    assert row(table, DMD2)["FD ↓"] == "2.00 (n=1)"


@pytest.mark.parametrize("older", ["2025-01-01T00:00:00+00:00", "2025-02-01T01:00:00+02:00"])
def test_a_run_recorded_twice_counts_once_and_the_newest(make_record: Make, older: str) -> None:
    newer = make_record(fd=(3.0,), created="2025-02-01T00:00:00+00:00")
    table = table3([newer, make_record(fd=(2.0,), created=older)])
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
        "95 % Student-t interval",
    ],
)
def test_footnotes_say_what_the_numbers_share(make_record: Make, expected: str) -> None:
    section = table3([make_record(seed=0), make_record(seed=1)]).sections[0]
    assert any(expected in note for note in section.notes)


def test_cost_is_shown(make_record: Make) -> None:
    shown = row(table3([make_record()]), DMD2)
    names = ("iterations", "generator updates", "training images", "train s", "evaluate s", "peak memory", "NFE")
    assert [shown[name] for name in names] == ["500", "100", "32,000", "110", "20", "512.0 MiB", "1"]
    assert shown["compute"] == "1.8 core-minutes"
    assert task_table([make_record()], "fashion").sections[0].cells["compute"].item() == "0.03 core-hours"


def test_gpus_are_counted_in_gpu_hours(make_record: Make) -> None:
    assert row(table3([make_record(gpu_hours=371.2)]), DMD2)["compute"] == "371 GPU-hours"


@pytest.mark.parametrize(
    ("hours", "shown"), [(0.004, "<0.01"), (0.005, "0.01"), (99.996, "100.00"), (1234.5, "1,234")]
)
def test_a_little_time_is_not_none(make_record: Make, hours: float, shown: str) -> None:
    assert row(table3([make_record(gpu_hours=hours)]), DMD2)["compute"] == f"{shown} GPU-hours"


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


def test_alarms_in_training_are_a_footnote(make_record: Make) -> None:
    note = {"name": "collapse", "first": 300, "last": 1500, "worst": 0.2134, "threshold": 0.4}
    alarmed = make_record("gan", 2).model_copy(update={"alarms": [AlarmNote(**note)]})
    notes = table3([make_record(), alarmed]).sections[0].notes
    expected = "gan, seed 2: collapse (iteration 300 to 1,500, at worst 0.213, threshold 0.4)."
    assert f"Alarms in training (docs/alarms.md). {expected}" in notes
    assert not any("Alarms" in note for note in table3([make_record()]).sections[0].notes)


def test_a_record_from_before_there_were_alarms_has_none(make_record: Make) -> None:
    content = make_record().model_dump(mode="json")
    assert content.pop("alarms") == [] and Record.model_validate(content).alarms == []


def test_what_the_metric_noticed_is_a_footnote(make_record: Make) -> None:
    noticed = {"by_factors": True, "clipped": 3, "generated_rank_deficient": True, "generated_without_patch": 12}
    section = table3([make_record(diagnostics=[noticed, {}]), make_record("gan")]).sections[0]
    for reason in (
        "FD: the covariance of the generated images lacks full rank (1 of 2 records).",
        "FD: up to 3 negative eigenvalues were taken as zero (1 of 2 records).",
        "FD: up to 12 generated images were too small to have a patch (1 of 2 records).",
    ):
        assert reason in section.notes
    assert any("taken from their factors (1 of 2 records)" in note for note in section.notes)
    assert not any("real images" in note for note in section.notes)


def test_a_diversity_is_called_by_the_network_that_sees_it(make_record: Make) -> None:
    """In records from before the heading named it, too."""
    judge = {"lpips": "convolutions of a judge"}
    old = make_record(metric="diversity", title="LPIPS diversity", extractors=judge)
    assert "Diversity (convolutions of a judge) ↓" in task_table([old], "fashion").sections[0].cells


def test_the_line_of_one_evaluation_says_what_its_interval_is_over(make_record: Make) -> None:
    scaled = {
        "metric": "kid-rms",
        "title": "KID of fashion-cnn64 / RMS",
        "diagnostics": [{"standard_error": 0.002}],
    }
    record = make_record(fd=(0.02, 0.03), **scaled)
    _, _, low, high = t_interval((20.0, 30.0))
    interval = f"[{low:.6g}, {high:.6g}] over generation seeds"
    shown = one_result(record.metrics[0], record.protocol)
    assert shown == f"KID of fashion-cnn64 / RMS × 1,000 25  {interval}  SE 2 over images"
    old = make_record(fd=(14961.0,), metric="kid", title="KID")
    assert one_result(old.metrics[0], old.protocol).split() == ["KID", "of", "unscaled", "features", "14961"]
    assert one_result(make_record(fd=(2.0,)).metrics[0], {}).split() == ["FD", "2"]


def test_the_second_exists_only_beside_a_best_and_leads_the_rest(make_record: Make) -> None:
    def marks(**values: Sequence[float]) -> tuple[set[int], set[int]]:
        records = [
            make_record(name, seed, (fd,)) for name, found in values.items() for seed, fd in enumerate(found)
        ]
        section = task_table(records, "fashion").sections[0]
        return {row for row, _ in section.best}, {row for row, _ in section.second}

    low, middle, high = (2.0, 2.1), (8.0, 8.1), (20.0, 20.1)
    assert marks(a=low, b=middle, c=high) == ({0}, {1})
    assert marks(a=low, b=middle) == ({0}, set()), "the worse of two is no second"
    assert marks(a=low, b=middle, c=(8.05, 8.2)) == ({0}, set()), "level with the next"
    assert marks(a=low, b=(2.05, 2.15), c=high) == (set(), set()), "no best, so no second"
    assert marks(a=low, b=middle, c=(20.0,)) == (set(), set()), "one training seed"


def test_sections_have_the_numbers_behind_their_cells(make_record: Make) -> None:
    section = task_table(
        [make_record(seed=seed, fd=(fd,)) for seed, fd in enumerate((2.0, 2.5))], "fashion"
    ).sections[0]
    value = section.values[0, "FD ↓"]
    mean, _, low, high = t_interval((2.0, 2.5))
    assert (value.value, value.low, value.high, value.n, value.ranks) == (mean, low, high, 2, True)
    assert str(value) == section.cells["FD ↓"].iloc[0]
    assert [column.kind for column in section.columns[:4]] == ["method", "recipe", "metric", "cost"]
