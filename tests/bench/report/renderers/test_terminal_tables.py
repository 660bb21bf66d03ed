"""Tables in a terminal: nothing is wider than it, the metrics come first, and what is left out is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len

from bench.report.renderer import Layout
from bench.report.renderers.terminal import TerminalRenderer
from bench.report.table import ReportTable, suite_table, task_table
from bench.runs.record import Record
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite

Make = Callable[..., Record]


def shown(tables: Sequence[ReportTable], width: int = 80, wide: bool = False, styled: bool = False) -> str:
    return TerminalRenderer().render(tables, Layout(width, wide, styled))


def table3(records: Sequence[Record]) -> ReportTable:
    return suite_table(load_suite("table3"), load_paper_table("table3"), records, "micro")


@pytest.fixture
def three_seeds(make_record: Make) -> list[Record]:
    """Two methods with three training seeds each, which do not overlap, and a sampler."""
    values = {"dmd2": (2.0, 2.1, 2.05), "gan": (4.0, 4.1, 4.05)}
    records = [make_record(name, seed, (fd, fd)) for name in values for seed, fd in enumerate(values[name])]
    return [*records, make_record("teacher-ode", None, (3.0, 3.2), kind="baseline")]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("wide", [False, True])
def test_no_line_of_a_table_is_wider_than_the_terminal(three_seeds: list[Record], width: int, wide: bool) -> None:
    text = shown([table3(three_seeds)], width, wide)
    grid = text.partition("Missing results")[0]  # its commands are whole lines, so that they can be copied
    assert max(map(cell_len, grid.splitlines())) <= width
    assert re.search(r" 2\.05 ± 0\.12( \*)?( |$)", grid, re.MULTILINE), "a value is never broken into two lines"


def test_the_metric_and_the_papers_value_come_before_costs(three_seeds: list[Record]) -> None:
    text = shown([replace(table3(three_seeds), missing=())], 70)
    heading = next(line for line in text.splitlines() if "FD ↓" in line)
    assert "method" in heading and "FID" in heading and "recipe" not in heading
    assert re.search(r"^Not shown: recipe, .*; see --wide or --format csv\.$", text, re.MULTILINE)


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("wide", [False, True])
def test_names_make_room_for_the_first_metric(make_record: Make, width: int, wide: bool) -> None:
    """Methods with two recipes each, whose names and recipes alone are as wide as the terminal."""
    names = ("dmd2-4step-no-backward-simulation", "dmd2-4step-no-dm")
    records = [make_record(name, 0, (fd, fd), recipe={"lr": fd}) for name in names for fd in (2.5, 3.5)]
    text = shown([task_table(records, "fashion")], width, wide)
    assert max(map(cell_len, text.splitlines())) <= width
    assert [len(re.findall(rf" {value} \[no spread\]", text)) for value in ("2.50", "3.50")] == [2, 2]


def test_wide_shows_every_column_and_note_in_blocks_that_name_the_rows(three_seeds: list[Record]) -> None:
    table = table3(three_seeds)
    text = shown([table], 80, wide=True)
    words = set(text.split())
    assert all(word in words for name in table.sections[0].cells.columns for word in name.split())
    assert "Not shown" not in text and text.count("\nmethod") > 1
    assert "Budget: 500 iterations." in text and "more notes" not in text
    assert "more notes: --wide." in shown([table], 80)


def test_one_training_seed_is_said_at_its_value_and_in_a_note(
    three_seeds: list[Record], make_record: Make
) -> None:
    same = shown([task_table(three_seeds, "fashion")])
    assert "n=" not in same and "over n = 3 training seeds" in same
    text = shown([task_table([*three_seeds, make_record("dmd", 0, (3.0, 3.2))], "fashion")])
    line = next(line for line in text.splitlines() if line.startswith("dmd "))
    assert "3.10 [± 1.27] n=1" in line, "brackets: the interval is over generation seeds"
    assert "2.05 ± 0.12 n=3" in text
    assert "n=1: dmd. n=3: dmd2; gan." in " ".join(text.split())


def test_the_best_is_bold_or_has_a_mark_where_text_cannot_be_bold(three_seeds: list[Record]) -> None:
    table = task_table(three_seeds, "fashion")
    plain, styled = shown([table]), shown([table], styled=True)
    assert "2.05 ± 0.12 *" in plain and "\x1b" not in plain and "\n*: better than every other" in plain
    assert "\x1b[1m2.05 ± 0.12\x1b[0m" in styled and "\nBold: better than every other" in styled


def test_rows_that_differ_only_in_the_recipe_show_it(make_record: Make) -> None:
    records = [make_record(), make_record(recipe={"lr": 0.5})]
    assert "lr=0.5 #" in shown([task_table(records, "fashion")], 60)
    assert "recipe" not in shown([task_table(records[:1], "fashion")], 60).partition("Not shown")[0]


def test_missing_results_have_their_commands_on_one_line(make_record: Make) -> None:
    text = shown([table3([make_record()])])
    assert "DMD's regression uses the mean squared error" in text
    assert re.search(r"^  GAN only, seeds 0, 1, 2: missing; fix: `bench run --method gan .*`$", text, re.MULTILINE)
    assert "GAN only" in text.partition("Missing results")[0]
