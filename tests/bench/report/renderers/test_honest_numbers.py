"""Numbers of any size and spread in each format: no zero, no certainty and no digits that are none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.run_folder import RECORD
from bench.report.blocks import to_markdown
from bench.report.comparison.comparing import compared
from bench.report.comparison.text import blocks
from bench.report.measured import decimals_apart, fixed
from bench.report.renderer import Layout
from bench.report.sides import Found, Side
from bench.report.site.boards import boards_of
from bench.report.site.cells import measured
from bench.report.site.entries import Entry
from bench.report.site.tables import values
from bench.report.summary import summarise
from bench.report.table import ReportTable, task_table, tidy
from bench.runs.record import Record
from bench.runs.registry import load_catalogue

Make = Callable[..., Record]
FORMATS = ("terminal", "md", "tex", "html")


def rendered(name: str, table: ReportTable) -> str:
    """Return a table in a format, without the tags and signs of HTML and LaTeX."""
    text = load_catalogue().renderers.get(name).render([table], Layout(200))
    return " ".join(re.sub(r"<[^>]+>|[&{}]", " ", text).split())


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (4.567, 2, "4.57"),
        (0.0, 3, "0.000"),
        (-0.0, 3, "0.000"),
        (-0.25, 3, "-0.250"),
        (1 / 30_000, 3, "3.3e-05"),
        (-1e-9, 3, "-1.0e-09"),
        (5e-324, 3, "4.9e-324"),
        (123_456_789.0, 2, "123456789.00"),
        (3e300, 2, "3.0e+300"),
    ],
)
def test_a_number_is_never_shown_as_a_zero_that_it_is_not_nor_with_hundreds_of_digits(
    number: float, digits: int, text: str
) -> None:
    assert fixed(number, digits) == text


@pytest.mark.parametrize("name", FORMATS)
def test_equal_values_have_no_spread_instead_of_an_error_of_zero_and_are_not_the_best(
    make_record: Make, name: str
) -> None:
    records = [make_record("flat", seed, (0.1, 0.1, 0.1)) for seed in range(3)]
    records += [make_record("gan", seed, (9.0 + seed,)) for seed in range(3)]
    records += [make_record("teacher", None, (0.3, 0.3), kind="baseline")]
    table = task_table(records, "fashion")
    text = rendered(name, table)
    assert table.sections[0].best == frozenset()
    assert "0.100 no spread" in text
    assert re.search(r"0\.300 \[ ?no spread", text) or "0.300 [ ]no spread" in text
    assert not re.search(r"± ?0\.0+\b", text)


def close_students(make_record: Make) -> list[Record]:
    """Students whose values differ by more than their intervals, and by less than tables usually show."""
    fd = {"dmd2": 0.10012, "gan": 0.10048, "gan-ttur": 0.10051, "sid": 0.2}
    return [make_record(name, seed, (value + 1e-7 * seed,)) for name, value in fd.items() for seed in range(3)]


@pytest.mark.parametrize("name", FORMATS)
def test_the_best_value_is_never_shown_as_equal_to_another(make_record: Make, name: str) -> None:
    """Its column has as many decimals as tell the best, and the second, from all others."""
    table = task_table(close_students(make_record), "fashion")
    text = rendered(name, table)
    assert {row for row, _ in table.sections[0].best} == {0} and {row for row, _ in table.sections[0].second} == {
        1
    }
    assert all(number in text for number in ("0.10012", "0.10048", "0.10051", "0.20000"))


@pytest.mark.parametrize(
    ("column", "marked", "more"),
    [
        ([0.1, 0.1004, None], [0], 1),
        ([0.1, 0.1004], [], 0),
        ([0.1, 0.1], [0], 0),
        ([0.9996, 1.004], [0], 1),  # 1.000 and 1.00
        ([1000.0, 1000.001], [1], 1),
        ([1000.0, 1000.0000001], [1], 5),
        ([3.3e-5, 3.34e-5], [0], 4),
    ],
)
def test_a_column_has_as_many_decimals_as_its_marked_values_need(
    column: list[float | None], marked: list[int], more: int
) -> None:
    assert decimals_apart(column, marked) == more


@pytest.mark.parametrize("name", FORMATS)
def test_a_small_spread_is_a_number_and_not_zero(make_record: Make, name: str) -> None:
    records = [make_record(seed=seed, fd=(0.3 + 1e-6 * seed,)) for seed in range(3)]
    assert "2.5e-06" in rendered(name, task_table(records, "fashion"))


@pytest.mark.parametrize("name", [*FORMATS, "csv"])
@pytest.mark.parametrize("size", [1e300, 1e-300, 1e-320])
def test_numbers_of_any_size_have_a_mean_and_an_interval(make_record: Make, name: str, size: float) -> None:
    records = [make_record("dmd2", seed, (size * (seed + 1),)) for seed in range(3)]
    text = rendered(name, task_table(records, "fashion"))
    assert re.search(r"\b2(\.0)?e[+-]3[02]0\b|\b1\.99\d*e-320\b", text)
    assert not re.search(r"\d{20}", text)


def test_a_comparison_tests_numbers_of_any_size_and_no_values_without_spread(make_record: Make) -> None:
    def side(name: str, *fd: float) -> Side:
        records = [make_record(name, seed, (value,)) for seed, value in enumerate(fd)]
        return Side(name, tuple(Found(record, Path("nowhere") / RECORD) for record in records))

    sizes = to_markdown(blocks(compared([side("a", 1e300, 2e300, 3e300), side("b", 7e300, 8e300, 9e300)])))
    assert "−6.0e+300" in sizes
    assert ".018" in sizes
    assert not re.search(r"\d{20}", sizes)
    (metric,) = compared([side("a", 0.1, 0.1, 0.1), side("b", 0.7, 0.7, 0.7)]).metrics
    assert metric.pairs[0].test is None
    equal = to_markdown(blocks(compared([side("a", 0.1, 0.1, 0.1), side("b", 0.1, 0.1, 0.1)])))
    assert "| 0.100 | [no spread] |" in equal
    close = to_markdown(blocks(compared([side("a", 1000, 1000.001), side("b", 1e-323, 3e-323)])))
    assert "| 1000.00 | [999.99, 1000.01] |" in close
    assert "−0.0" not in close


def test_a_table_of_the_site_tells_the_best_from_the_others(make_record: Make) -> None:
    entries = [Entry(record, Path("nowhere") / RECORD, record.run_id) for record in close_students(make_record)]
    places = {id(entry.record): place for place, entry in enumerate(entries)}
    frame = tidy([entry.record for entry in entries], lambda record: places[id(record)])
    (board,) = boards_of("fashion", entries, frame)
    cells = [values(board, place, ["fd"])["fd"] for place in range(len(board.variants))]
    assert [(cell.text, cell.best) for cell in cells] == [
        ("0.1001", True),
        ("0.1005", False),
        ("0.1005", False),
        ("0.2000", False),
    ]


def test_a_cell_of_the_site_says_that_there_is_no_spread(make_record: Make) -> None:
    records = [make_record(seed=seed, fd=(5.0, 5.0)) for seed in range(2)]
    (row,) = summarise(tidy(records)).to_dict("records")
    assert measured(row).spread == "no spread"
    (alone,) = summarise(tidy(records[:1])).to_dict("records")
    assert measured(alone).spread == "[no spread]"


def test_a_mean_names_the_seeds_behind_it_alone(make_record: Make) -> None:
    """A record may have no value of one metric; the seeds of its other metrics are not those of the mean."""
    records = [make_record(seed=seed, fd=(value, value)) for seed, value in enumerate((1.0, 2.0, 4.0))]
    nothing = dict.fromkeys(("value", "std", "low", "high")) | {"values": [], "diagnostics": []}
    without = records[1].metrics[0].model_copy(update=nothing)
    records[1] = records[1].model_copy(update={"metrics": [without]})
    (row,) = summarise(tidy(records)).to_dict("records")
    assert (row["value"], row["n_seeds"], row["seeds"]) == (2.5, 2, "0 2")
