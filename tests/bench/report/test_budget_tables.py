"""A table of methods at equal budget shows in every format what each of them took."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from bench.report.renderer import Layout
from bench.report.renderers.html import HTMLRenderer
from bench.report.renderers.plain import CSVRenderer, MarkdownRenderer
from bench.report.renderers.terminal import TerminalRenderer
from bench.report.renderers.tex import TexRenderer
from bench.report.site.cells import COSTS, costs
from bench.report.summary import summarise, tidy
from bench.report.table import ReportTable, suite_table, task_table
from bench.runs.record import NetworkPasses, Record
from bench.runs.suites.reading import load_suite
from bench.training.budget import Budget, Unit

Make = Callable[..., Record]
SUITE = load_suite("table3")
SCALE = replace(SUITE.scale("micro"), budget=Budget("passes", 600_000), note="Equal budget.")


def counted(record: Record, forward: int) -> Record:
    """Return a record with so many counted forward passes, and 100,000 backward ones of a critic's encoder."""
    passes = {
        "student": NetworkPasses(forward=forward, backward=0),
        "critic's encoder": NetworkPasses(forward=0, backward=100_000),
    }
    return record.model_copy(update={"cost": record.cost.model_copy(update={"passes": passes})})


@pytest.fixture
def table(make_record: Make) -> ReportTable:
    """Two methods of three seeds each; the passes of the second one differ between seeds."""
    records = [counted(make_record("dmd2", seed), 498_000) for seed in range(3)]
    records += [counted(make_record("gan", seed), 400_000 + seed) for seed in range(3)]
    return suite_table(SUITE, None, records, SCALE)


def test_costs_are_columns_with_core_minutes(table: ReportTable) -> None:
    section = table.sections[0]
    first = section.cells.set_index("method").loc["DMD, no regression, TTUR, GAN (DMD2)"]
    names = ["iterations", "generator updates", "training images", "passes", "compute", "peak memory"]
    assert first[names].tolist() == ["500", "100", "32,000", "598,000", "1.8 core-minutes", "512.0 MiB"]
    assert section.cells.set_index("method").loc["GAN only", "passes"] == "500,000–500,002"
    assert [column.name for column in section.columns if column.compared] == names
    assert any(note.startswith("Passes are counted in training. A pass is") for note in section.notes)


@pytest.mark.parametrize("renderer", [TerminalRenderer(), MarkdownRenderer(), TexRenderer(), HTMLRenderer()])
def test_every_format_shows_them(table: ReportTable, renderer: TerminalRenderer) -> None:
    text = renderer.render([table], Layout(width=170))
    for shown in ("598,000", "32,000", "512.0", "1.8", "passes", "core-minutes"):
        assert shown in text


def test_csv_has_them_in_full(table: ReportTable) -> None:
    frame = pd.read_csv(io.StringIO(CSVRenderer().render([table], Layout())))
    found = frame[frame["method"] == "gan"].iloc[0]
    assert (found["passes_low"], found["passes_high"]) == (500_000, 500_002)


def test_a_table_of_results_alone_keeps_hours_and_the_room_for_values(make_record: Make) -> None:
    records = [counted(make_record("dmd2", seed), 498_000) for seed in range(3)]
    text = TexRenderer().render([suite_table(SUITE, None, records, replace(SCALE, budget=None))], Layout())
    assert "598,000" not in text and "core-minutes" not in text and "% Not shown: recipe" in text


def test_a_record_without_counts_has_no_passes(make_record: Make) -> None:
    section = suite_table(SUITE, None, [make_record("dmd2")], SCALE).sections[0]
    assert set(section.cells["passes"]) == {"–"} and not any("Passes" in note for note in section.notes)


@pytest.mark.parametrize(("forward", "shown"), [(498_000, "598,000"), (None, "–")])
def test_the_site_has_a_column_of_passes(make_record: Make, forward: int | None, shown: str) -> None:
    record = make_record("dmd2") if forward is None else counted(make_record("dmd2"), forward)
    (some,) = summarise(tidy([record])).to_dict("records")
    assert dict(zip(COSTS, costs(some), strict=True))["Passes"].text == shown


def test_a_training_that_took_more_than_the_budget_is_named_with_what_was_counted(make_record: Make) -> None:
    """Its `cost()` announced less, so that the suite gave it more iterations."""
    within = [counted(make_record("dmd2", seed), 510_000) for seed in range(2)]
    assert "Over this budget" not in suite_table(SUITE, None, within, SCALE).note
    beyond = [counted(make_record("gan", seed), 900_000 + seed) for seed in range(2)]
    note = suite_table(SUITE, None, [*within, *beyond], SCALE).note
    assert "Over this budget by the passes that were counted: GAN only: 1,000,001. Its numbers" in note


@pytest.mark.parametrize(
    ("unit", "took", "fix"),
    [
        ("images", "training images: GAN only: 32,000", "train it within the budget"),
        (
            "generator_updates",
            "generator updates that were counted: GAN only: 100",
            "correct cost() of its recipe",
        ),
    ],
)
def test_a_budget_of_another_unit_is_kept_to_the_last_one(
    make_record: Make, unit: Unit, took: str, fix: str
) -> None:
    """As of a row whose method is not known here, so that its records may be of any number of iterations."""
    amount = {"images": 32_000, "generator_updates": 100}[unit]
    records = [make_record("gan", seed) for seed in range(2)]
    within = replace(SCALE, budget=Budget(unit, amount))
    assert "Over this budget" not in suite_table(SUITE, None, records, within).note
    note = suite_table(SUITE, None, records, replace(SCALE, budget=Budget(unit, amount - 1))).note
    assert f"Over this budget by the {took}. Its numbers are not at equal budget; fix: {fix}" in note


def test_rows_of_one_recipe_are_told_apart_by_their_checkpoints_in_notes(make_record: Make) -> None:
    last = [make_record("gan", seed) for seed in range(2)]
    found = last[0].checkpoint
    assert found is not None
    chosen = found.model_copy(update={"selection": "best-by-test-metric"})
    best = make_record("gan", 2).model_copy(update={"checkpoint": chosen})
    (note,) = (one for one in task_table([*last, best], last[0].task).sections[0].notes if "n=1: gan" in one)
    assert "best-by-test-metric, " in note and "n=2: gan" in note and "last, " in note
