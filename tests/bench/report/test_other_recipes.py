"""A row of a suite has the results of the recipe that it has now; those of another one are apart, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.escape import markdown
from bench.report.lines import Assigned, left_out, of_other_protocols, owners, suite_lines
from bench.report.render import to_markdown
from bench.report.results_page import Results
from bench.report.selection import Selection
from bench.report.table import ReportTable, suite_table
from bench.report.todo import left_of, left_text
from bench.runs.record import INITIAL_WEIGHTS, Asset, Record
from bench.runs.records import Loaded, load_records
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.result_files import RESULTS
from bench.runs.states.pending import PendingRun
from bench.runs.states.state import RunState
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled
from bench.runs.suites.suite import SuiteRow, SuiteScale, SuiteStudent

Make = Callable[..., Record]
SUITE = load_suite("table3")
DMD2 = "DMD, no regression, TTUR, GAN (DMD2)"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def scale(catalogue: Catalogue, tmp_path: Path) -> SuiteScale:
    """Table 3 at micro scale, with the recipes that its rows have now."""
    return settled(SUITE.scale("micro"), catalogue, tmp_path)


def both(make: Make, **changed: Any) -> list[Record]:
    """Return three seeds of the recipe that dmd2 had before some values were changed, and one of that of now."""
    earlier = [make("dmd2", seed, (9.0 + seed, 9.0 + seed), now=True) for seed in range(3)]
    changes = ({"run_id": f"{one.run_id}-earlier", "method": other(one, **changed)} for one in earlier)
    copies = [one.model_copy(update=change) for one, change in zip(earlier, changes, strict=True)]
    return [*copies, make(now=True)]


def other(record: Record, plugin: str = "", **values: Any) -> Any:
    """Return a record's method with other values of its recipe, which no user gave."""
    recipe = record.method.recipe | values
    return record.method.model_copy(update={"recipe": recipe, "plugin_sha256": plugin, "passed": {}})


def labels(table: ReportTable) -> dict[str, str]:
    """Return the first metric of each row that was run, by its label."""
    (section,) = table.sections
    return {row.method: row["FD ↓"] for _, row in section.cells.iterrows() if row["FD ↓"] != "missing"}


def test_an_earlier_recipe_has_a_row_that_names_what_differs(make_record: Make, scale: SuiteScale) -> None:
    table = suite_table(SUITE, SUITE.paper_table(), both(make_record, ema_decay=0.5), scale)
    own, apart = labels(table).items()
    assert (own[0], own[1].split(" ")[0]) == (DMD2, "2.10")
    assert apart[0].startswith(f"{DMD2}, recipe #") and apart[1].startswith("10.00 ± ")
    note = f"{apart[0]}: another recipe than the suite's row has now. ema_decay is 0.5 and not 0.99."
    assert note in table.sections[0].notes and note in table.sections[0].warnings
    assert table.data[table.data["label"] == apart[0]]["paper_fid"].isna().all()  # the paper's is of the row
    assert markdown(note) in to_markdown(table)


def test_what_only_an_earlier_recipe_has_is_missing(make_record: Make, scale: SuiteScale) -> None:
    """`bench reproduce` trains it."""
    records = both(make_record, ema_decay=0.5)
    lines = suite_lines(scale, None, records)
    (dmd2,) = (one for one in left_of(Assigned.to(lines, records), scale, ()) if one.label == DMD2)
    assert dmd2.seeds == (1, 2)
    (dmd2,) = (one for one in left_of(Assigned.to(lines, records[:3]), scale, ()) if one.label == DMD2)
    assert (dmd2.seeds, dmd2.state) == ((0, 1, 2), "missing")


def test_the_plug_in_file_is_named_where_it_differs(make_record: Make, scale: SuiteScale) -> None:
    table = suite_table(SUITE, None, both(make_record, plugin="ab" * 32), scale)
    assert "now. The plug-in is abababababab and not none." in table.sections[0].notes[-1]


def test_a_pending_run_of_an_earlier_recipe_is_not_the_rows(make_record: Make, scale: SuiteScale) -> None:
    (dmd2,) = (line for line in suite_lines(scale, None) if line.label == DMD2)
    at = RunState(Path(), "running")
    now = make_record(now=True)
    for method, is_row in ((now.method, True), (other(now, ema_decay=0.5), False)):
        assert dmd2.waits_for(PendingRun("method", method, "fashion", 0, at)) is is_row


def test_a_row_whose_method_is_not_installed_has_the_records_with_its_values(make_record: Make) -> None:
    """Which of their recipes is that of now cannot be known."""
    unknown = replace(SUITE.scale("micro"), rows=(SuiteRow("theirs", "Theirs", overrides={"lr": 0.1}),))
    records = [make_record("theirs", recipe={"lr": lr}) for lr in (0.1, 0.2)]
    assert [line.label for line in suite_lines(unknown, None, records)] == ["teacher-ode", "teacher-sde", "Theirs"]
    assert suite_table(SUITE, None, records, unknown).data["passed"].dropna().tolist() == ["lr=0.1"]


def test_results_of_an_earlier_tuning_are_no_results_of_the_row(
    catalogue: Catalogue, make_record: Make, tmp_path: Path
) -> None:
    """After a change of the recipe the row is to be tuned again, and other values may be the best."""
    rows = (SuiteRow("dmd2", "DMD2", tune={"lr": [1e-3, 1e-4]}),)
    chosen = settled(replace(SUITE.scale("micro"), rows=rows), catalogue, tmp_path)
    records = [
        make_record(now=True, seed=seed, recipe={"lr": lr}) for seed, lr in ((0, 1e-3), (1, 1e-2), (100, 1e-3))
    ]
    tuned = replace(rows[0], overrides={"lr": 1e-4}, recipe=make_record(now=True, recipe={"lr": 1e-4}).method)
    notes = {
        "row has now is not known, since it is to be tuned.": chosen,
        ": another recipe than the suite's row has now. lr is 0.001 and not 0.0001.": replace(
            chosen, rows=(tuned,)
        ),
    }
    for note, scale in notes.items():
        table = suite_table(SUITE, None, records, scale)
        assert table.sections[0].notes[-1].endswith(note)
        seeds = {row["label"]: row["seeds"] for row in table.data.to_dict("records") if row["kind"] == "method"}
        assert [*seeds.values()][1:] == ["0"] and len(seeds) == 2
        assert [one.seeds for one in table.missing if one.label == "DMD2"] == [(0, 1, 2)]


def test_the_users_own_values_are_those_of_every_row(
    catalogue: Catalogue, make_record: Make, tmp_path: Path
) -> None:
    """`bench reproduce --set lr=1e-5` has its results in its own table, also where a row sets another value."""
    rows = (SuiteRow("dmd2", "DMD2", overrides={"lr": 1e-4, "iterations": 7000}),)
    chosen = settled(replace(SUITE.scale("micro"), rows=rows, budget=None), catalogue, tmp_path, {"lr": 1e-5})
    records = [make_record(now=True, recipe={"lr": 1e-5})]
    assert labels(suite_table(SUITE, None, records, chosen)).keys() == {"DMD2"}
    lines = suite_lines(chosen, None, records)
    (missing,) = (
        left_text(one, str) for one in left_of(Assigned.to(lines, records), chosen, ()) if one.label == "DMD2"
    )
    assert missing.endswith("--no-baselines --set lr=1e-05 --set iterations=7000`")


def test_a_comparison_has_it_as_a_side_of_its_own(make_record: Make, scale: SuiteScale) -> None:
    records = both(make_record, ema_decay=0.5)
    sides = Selection(Loaded(records, [], [Path(f"{one.run_id}.json") for one in records])).suite(SUITE, scale)
    assert [len(side.found) for side in sides] == [1, 3]
    assert sides[0].label == DMD2 and sides[1].label.startswith(f"{DMD2}, recipe #")


def test_results_on_no_row_are_named_with_the_value_that_they_lack(make_record: Make, scale: SuiteScale) -> None:
    """As after a recipe's cost changed, so that the suite's budget allows other iterations."""
    records = [make_record("gan", seed, now=True, recipe={"iterations": 999}) for seed in range(2)]
    note = "Left out, by values that the suite sets: gan, 2 records: iterations is 999 and not 1400."
    assert suite_table(SUITE, None, records, scale).note.endswith(note)
    assert "Left out" not in suite_table(SUITE, None, [make_record("gan", now=True)], scale).note
    paths = [Path(f"{one.run_id}.json") for one in records]
    assert Selection(Loaded(records, [], paths)).left_out(SUITE, scale) == note


def test_results_of_another_protocol_than_the_suite_fixes_are_named(make_record: Make, scale: SuiteScale) -> None:
    records = [make_record(now=True), make_record("gan", now=True)]
    fixed = replace(scale, protocol="fashion.fd")
    note = "Left out, since the suite fixes the protocol fashion.fd: dmd2, 1 record: by fashion; gan, 1 record"
    chosen = Selection(Loaded(records, [], [Path(f"{one.run_id}.json") for one in records]))
    assert chosen.left_out(SUITE, fixed).startswith(note) and not chosen.left_out(SUITE, scale)
    assert of_other_protocols(Assigned.to(suite_lines(fixed, None), records), "fashion.fd").startswith(note)


def test_a_published_student_in_other_steps_is_named(make_record: Make) -> None:
    student = SuiteStudent("theirs-*", 1, "Theirs", source="theirs.org")
    record = make_record("theirs-7", None, kind="baseline", nfe=4)
    lines = suite_lines(replace(SUITE.scale("micro"), published=(student,)), None)
    assert left_out(Assigned.to(lines, [record])).endswith(
        "theirs-7, 1 record: it is sampled in 4 steps and not 1."
    )


def test_a_row_that_starts_from_another_leaves_out_what_starts_from_the_teacher(make_record: Make) -> None:
    rows = (SuiteRow("dmd2", "Later", starts_from="dmd-ttur"), SuiteRow("dmd-ttur", "First"))
    lines = suite_lines(replace(SUITE.scale("micro"), rows=rows, budget=None), None)
    note = "dmd2, 1 record: it starts from the teacher and not from dmd-ttur."
    assert left_out(Assigned.to(lines, [make_record()])).endswith(note)


def test_a_row_has_a_value_that_a_field_added_later_has_by_default(make_record: Make) -> None:
    """A record from before there was the field has that value, too."""
    rows = (SuiteRow("dmd2", "DMD2", overrides={"lr_decay": 0.0}),)
    record = make_record()
    assert "lr_decay" not in record.method.recipe
    lines = suite_lines(replace(SUITE.scale("micro"), rows=rows), None)
    assert owners(lines, [record]) == [lines.index(next(one for one in lines if one.label == "DMD2"))]


def test_the_page_of_results_takes_the_row_of_now(make_record: Make) -> None:
    assert Results(both(make_record, ema_decay=0.5)).values("fashion", "fd", "table3/dmd2") == [2.1]


def test_seeds_that_start_from_students_of_one_recipe_are_one_result(
    catalogue: Catalogue, make_record: Make, tmp_path: Path
) -> None:
    """Each seed starts from a student of its own; one of another recipe makes another result."""
    rows = (SuiteRow("dmd-ttur", "First"), SuiteRow("dmd2", "Later", starts_from="dmd-ttur/best"))
    chosen = settled(replace(SUITE.scale("micro"), rows=rows, budget=None), catalogue, tmp_path)
    records = []
    for seed, ema_decay in ((0, 0.99), (1, 0.99), (2, 0.5)):
        first = make_record("dmd-ttur", seed, now=True)
        first = first.model_copy(update={"method": other(first, ema_decay=ema_decay)})
        start = {"init_from": f"runs/fashion/{first.run_id}/best"}
        weights = Asset(role=INITIAL_WEIGHTS, sha256=f"{seed}" * 64, bytes=1)
        later = make_record("dmd2", seed, now=True, recipe=start).model_copy(update={"data": [weights]})
        records += [first, later]
    table = suite_table(SUITE, None, records, chosen)
    seeds = dict(zip(table.data["label"], table.data["seeds"], strict=True))
    apart = next(label for label in seeds if label.startswith("Later, recipe"))
    assert (seeds["First"], seeds["Later"], seeds[apart]) == ("0 1", "0 1", "2")
    (note,) = (note for note in table.sections[0].notes if note.startswith(apart))
    assert note[note.index("It starts") :].startswith("It starts from dmd-ttur#") and "/best and not from" in note
    assert not any(note.startswith("Warning") for note in table.sections[0].notes)
    assert table.data["passed"].str.contains("init_from=dmd-ttur#").sum() == 2


@pytest.mark.parametrize(
    "name", ["table3", "table4", "table4-constant", "tournament", "tournament-4step", "tournament-scenes"]
)
def test_committed_results_are_of_the_recipes_of_now(name: str, catalogue: Catalogue) -> None:
    """If this fails, a recipe was changed: its rows in docs/results.md are of an earlier one."""
    suite = load_suite(name)
    chosen = settled(suite.scale("micro"), catalogue, RESULTS)
    table = suite_table(suite, suite.paper_table(), load_records([RESULTS / "records"]).records, chosen)
    rows = {row["method"] for section in table.sections for _, row in section.cells.iterrows()}
    assert rows == {line.label for line in suite_lines(chosen, suite.paper_table())} and table.missing == ()
