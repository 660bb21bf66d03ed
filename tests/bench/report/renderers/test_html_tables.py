"""The page of a report: complete, and at home in a browser of any width."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.renderer import Layout
from bench.report.renderers.html import HTMLRenderer
from bench.report.table import ReportTable, suite_table
from bench.runs.record import Record
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite

Make = Callable[..., Record]


@pytest.fixture
def table(make_record: Make) -> ReportTable:
    """A suite with three ranked methods of three seeds each, and missing results."""
    values = {"dmd2": (2.0, 2.1, 2.05), "gan": (4.0, 4.1, 4.05), "dmd": (8.0, 8.1, 8.05)}
    records = [make_record(name, seed, (fd, fd)) for name in values for seed, fd in enumerate(values[name])]
    records.append(make_record("teacher-ode", None, (3.0, 3.2), kind="baseline"))
    return suite_table(load_suite("table3"), load_paper_table("table3"), records, "micro")


def test_the_page_has_all_columns_notes_and_missing_results(table: ReportTable) -> None:
    page = HTMLRenderer().render([table], Layout())
    section = table.sections[0]
    assert page.count('<th scope="col"') == len(section.columns)
    assert page.count('<th scope="row">') == len(section.cells)
    assert page.count("<li>") == len(section.notes) + len(table.missing) + 1
    assert "DMD&#39;s regression uses" in page
    assert "missing; fix: <code>bench run --method gan-ttur --task fashion" in page


def test_values_have_their_interval_and_marks(table: ReportTable) -> None:
    page = HTMLRenderer().render([table], Layout())
    assert '<td class="number best">2.05</td><td class="more">± 0.12</td>' in page
    assert '<td class="number second">4.05</td><td class="more">± 0.12</td>' in page
    assert '<td class="more">[1.83, 4.37]</td>' in page, "over generation seeds"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_error_request_or_sideways_scrolling(
    table: ReportTable, tmp_path: Path, visit: Callable[..., Any], width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(HTMLRenderer().render([table], Layout()), encoding="utf-8")
    page = visit(file, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("tbody tr").count() == len(table.sections[0].cells)
