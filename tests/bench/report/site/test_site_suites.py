"""The pages of suites and frontiers: the paper's values, curves with seeds as bands, and what is missing."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.site.frontier import part_of
from bench.report.site.suites import pages
from bench.runs.record import Record

Make = Callable[..., Record]


@pytest.fixture
def page(records: Any, make_record: Make) -> Callable[..., str]:
    """Return a function that makes the site of some records of two methods and returns a page of it."""

    def build(place: str, suites: tuple[str, ...], log: int = 0, logs: int = 3) -> str:
        for method, first in (("dmd-no-regression", 9.0), ("dmd-ttur", 2.0)):
            for seed in range(3):
                record = make_record(method, seed, (first + seed / 10, first + seed / 10), now=True)
                records.add(record, log=log if seed < logs else 0)
        return Path(records.build(suites) / place).read_text()

    return build


def test_a_suite_shows_the_papers_values_at_both_scales(page: Any) -> None:
    text = page("suites/table3.html", ("table3",))
    assert text.count("<td class=p>2.61") == 2  # at micro and at paper scale
    assert "Micro scale: fashion" in text and "Paper scale: imagenet64" in text
    assert "bench run --method dmd-ttur --task imagenet64 --seed 0 --no-baselines" in text


def test_a_suite_of_ones_own_is_called_by_its_file_and_not_by_the_paper(records: Any, tmp_path: Path) -> None:
    """The command was `bench reproduce my suite`, beside a sentence about the paper's curves."""
    path = tmp_path / "my suite.toml"
    path.write_text('title = "Ours"\nextends = "tournament"\n')
    text = html.unescape((records.build((str(path),)) / "suites" / "my suite.html").read_text())
    assert f"<p>Run it: <code>bench reproduce '{path}' --scale micro</code>.</p>" in text
    assert "No values of a paper stand beside these." in text and "paper shows" not in text


def test_bold_is_the_best_of_the_rows_of_the_suite(page: Any) -> None:
    text = page("suites/table3.html", ("table3",))
    assert text.count("<b>2.10</b>") == 1


def test_curves_have_a_band_over_seeds(page: Any) -> None:
    text = page("suites/figure8.html", ("figure8",), log=5)
    assert "Brightness over training: the mean over 3 training seeds whose logs are kept" in text
    assert "5 fake diffusion updates (TTUR)" in text
    assert "No curves" not in text


def test_curves_of_a_single_seed_say_so(page: Any) -> None:
    text = page("suites/figure8.html", ("figure8",), log=5, logs=1)
    assert "Brightness over training: one training seed each, whose log is kept." in text


def test_a_page_says_where_there_are_no_curves(page: Any) -> None:
    text = page("suites/figure8.html", ("figure8",))
    assert "No curves: no record here has its training log beside it." in text


def test_curves_of_another_recipe_are_a_line_of_their_own(records: Any, make_record: Make) -> None:
    """They were in the band of the row's seeds."""
    for seed, recipe in enumerate([{}, {}, {"lr": 1e-3}]):
        records.add(make_record("dmd-ttur", seed, now=True, recipe=recipe), log=5)
    text = (records.build(("figure8",)) / "suites/figure8.html").read_text()
    assert "the mean over 1 or 2 training seeds whose logs are kept" in text
    warned = text.index("another recipe than the suite&#39;s row has now. lr is 0.001 and not 0.0006.")
    assert "5 fake diffusion updates (TTUR), recipe #" in text[:warned]


def test_results_on_no_row_are_named(records: Any, make_record: Make) -> None:
    records.add(make_record("gan", 0, now=True, recipe={"iterations": 999}))
    text = (records.build(("table3",)) / "suites/table3.html").read_text()
    assert text.count("suite sets: gan, 1 record: iterations is 999 and not 1400.") == 1


def test_every_suite_has_a_page_without_any_record(records: Any) -> None:
    from bench.report.site.pages import Site
    from bench.runs.suites.reading import suite_names

    site = Site([], records.records, suite_names())
    for made in pages(site):
        assert not any(part.any_run for part in made.values["parts"])


def test_the_frontier_is_of_quality_against_cost(records: Any, make_record: Make) -> None:
    from bench.report.site.entries import read_entries
    from bench.report.site.pages import Site

    for method, fd, nfe in (("one-step", 3.0, 1), ("four-step", 2.0, 4), ("slow", 2.5, 8)):
        records.add(make_record(method, 0, (fd, fd), nfe=nfe))
    (board,) = Site(read_entries([records.records]).entries).boards("fashion")
    part = part_of(board)
    chart = part.charts[0]
    assert chart.caption.startswith("FD ↓ against network evaluations for one image")
    assert all(method in chart.svg for method in ("one-step", "four-step", "slow"))
    assert part.note == "No metric of diversity was measured under this protocol."


def test_samplers_of_another_teacher_than_any_students_are_left_to_the_page_of_the_task(
    records: Any, make_record: Make
) -> None:
    """Both teachers are on the task's page, which shows what was run with either as run."""
    records.add(make_record("dmd-ttur", 0, (2.0, 2.2), features="ab", now=True))
    for features in ("ab", "cd"):
        sampler = make_record("teacher-ode", None, (3.0, 3.2), kind="baseline", features=features)
        records.add(sampler.model_copy(update={"run_id": f"teacher-ode-{features}"}))
    site = records.build(("table3",))
    suite = (site / "suites/table3.html").read_text()
    assert suite.count("through other networks or under another protocol than any student") == 1
    assert suite.count(">teacher-ode<") == 2 and suite.count(">DMD, no regression, TTUR<") == 2  # micro and paper
    task = (site / "tasks/fashion.html").read_text()
    assert task.count(">teacher-ode<") == 2
    assert task.count("bench run --method dmd-no-regression") == 1 and "bench run --method dmd-ttur" not in task
