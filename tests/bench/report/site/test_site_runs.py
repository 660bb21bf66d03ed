"""The page of a run, opened in a browser."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contrast import worst_contrast

from bench.report.render import to_markdown
from bench.report.site.curves import curves_of
from bench.report.table import task_table
from bench.runs.record import Record
from bench.runs.repeat import command_of

Make = Callable[..., Record]
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


def with_values(record: Record, **values: Any) -> Record:
    """Return a record with other values."""
    return Record.model_validate(record.model_dump() | values)


@pytest.fixture
def run(records: Any, make_record: Make) -> Callable[[], tuple[Path, Record]]:
    """Return a function that makes a site of three seeds and a teacher, and returns the page of seed 0."""

    def build() -> tuple[Path, Record]:
        record = make_record(seed=0, recipe={"gan": False})
        records.add(record, colours=200, log=40)
        records.add(make_record(seed=1, recipe={"gan": False}), colours=100)
        records.add(make_record("teacher-ode", None, kind="baseline"), colours=50)
        return records.build() / "runs" / f"{record.run_id}.html", record

    return build


def test_the_page_shows_values_differences_command_and_other_seeds(run: Any, visit: Any) -> None:
    path, record = run()
    page = visit(path)
    assert page.title().startswith("dmd2 on fashion, seed 0")
    assert page.locator("table").first.locator("tbody tr").inner_text().split("\t")[:2] == ["FD ↓", "2.10"]
    settings = page.get_by_role("region", name="Recipe").locator("tbody tr").all_inner_texts()
    assert settings[0].split("\t") == ["gan", "false by the user", "–"]  # the user's come first
    assert settings[1].split("\t")[0] == "lr"
    assert page.locator("#command").inner_text() == command_of(record)
    page.get_by_role("link", name="seed 1").click()
    assert "seed 1" in page.title()


def test_pictures_are_there_and_the_teachers_beside(run: Any, visit: Any) -> None:
    page = visit(run()[0])
    page.evaluate("document.querySelectorAll('img').forEach((image) => (image.loading = 'eager'))")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert all(page.evaluate("[...document.images].map((image) => image.naturalWidth > 0)"))
    alts = page.evaluate("[...document.images].map((image) => image.alt)")
    assert alts == [
        *("12 images of dmd2 on fashion, seed 0", "12 images of teacher-ode"),
        *("Losses", "FD during training", "Gradient norms by network", "Brightness of generated images"),
    ]


def test_folded_parts_open_by_keyboard(run: Any, visit: Any) -> None:
    page = visit(run()[0])
    for words, expected in {
        "Whole recipe": "lr",
        "Whole record": "protocol_sha256",
        "What the images": "<i>prompt</i> 3",
    }.items():
        page.locator("summary", has_text=words).focus()
        page.keyboard.press("Enter")
        page.locator("details[open]", has_text=words).get_by_text(expected, exact=True).wait_for()


def test_the_record_is_saved_as_it_was_and_its_rows_as_csv(run: Any, visit: Any) -> None:
    path, record = run()
    page = visit(path)
    saved = {}
    for button in ("Record (JSON)", "Rows (CSV)"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=button).press("Enter")
        saved[button] = Path(waiting.value.path()).read_text()
    assert saved["Record (JSON)"] == record.model_dump_json(indent=2) + "\n"
    (row,) = csv.DictReader(io.StringIO(saved["Rows (CSV)"]))
    assert row["run_id"] == record.run_id
    assert float(row["value"]) == record.metrics[0].value


def test_a_failed_run_shows_its_error_and_last_lines(records: Any, make_record: Make, visit: Any) -> None:
    error = {"type": "OutOfMemoryError", "message": HOSTILE, "traceback": "", "log_tail": ["step 7", HOSTILE]}
    record = with_values(make_record(failed=True), error=error)
    records.add(record)
    page = visit(records.build() / "runs" / f"{record.run_id}.html")
    assert page.get_by_role("heading", name="Failed").count() == 1
    assert "OutOfMemoryError: <img src=x onerror=alert(1)>\\x1b[31m\\u202e" in page.inner_text("main")
    assert "step 7\n<img" in page.inner_text("main")
    assert "No curves of its training were kept." in page.inner_text("main")
    assert page.locator("img").count() == 0


def test_alarms_in_training_are_on_the_page(records: Any, make_record: Make, visit: Any) -> None:
    note = {"name": "collapse", "first": 300, "last": 300, "worst": 0.2134, "threshold": 0.4}
    record = with_values(make_record(), alarms=[note, note | {"name": HOSTILE}])
    records.add(record)
    shown = visit(records.build() / "runs" / f"{record.run_id}.html").inner_text("main")
    assert "Alarms in training: collapse (iteration 300, at worst 0.213, threshold 0.4), <img src=x" in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read(run: Any, visit: Any, scheme: str) -> None:
    page = visit(run()[0], width=390, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.get_by_text("protocol_sha256", exact=True).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert worst_contrast(page) >= 4.5


def test_a_page_is_small(run: Any) -> None:
    assert run()[0].stat().st_size < 4500


def test_curves_are_those_of_the_log_and_a_wide_range_is_logarithmic() -> None:
    log = [
        {"iteration": i, "loss/a": 10.0**i, "loss/b": 1.0, "image_gradient/gan": float("nan"), "lr": 1.0}
        for i in range(1, 4)
    ]
    charts = {chart.name: chart.svg for chart in curves_of(log)}
    assert list(charts) == ["loss", "image-gradient"]
    assert ">1,000</text>" in charts["loss"] and ">100</text>" in charts["loss"]
    assert "3 left out: not finite" in charts["image-gradient"]
    assert list(curves_of([])) == []


def test_all_numbers_of_a_metric_have_the_decimals_of_tables(records: Any, make_record: Make, visit: Any) -> None:
    record = make_record(
        metric="kid-rms", title="KID of x / RMS", fd=(12.3456, 12.5), diagnostics=[{"standard_error": 0.001}]
    )
    records.add(record)
    row = visit(records.build() / "runs" / f"{record.run_id}.html").locator("tbody tr").first.inner_text()
    title, value, interval, each, error = row.split("\t")
    assert title == "KID of x / RMS × 1,000 ↓"
    assert (value, each, error) == ("12422.80", "12345.60 · 12500.00", "1.00")
    assert "e+" not in interval and all(end.split(".")[1].__len__() == 2 for end in interval.split(" to "))


def test_a_narrow_interval_has_as_many_decimals_as_tell_its_ends_apart(
    records: Any, make_record: Make, visit: Any
) -> None:
    """As in every table: t over two seeds, 12.7 times half their distance."""
    record = make_record(fd=(2.0, 2.0001))
    records.add(record)
    row = visit(records.build() / "runs" / f"{record.run_id}.html").locator("tbody tr").first.inner_text()
    assert row.split("\t")[1:3] == ["2.00", "1.999 to 2.001"]
    assert "[1.999, 2.001]" in to_markdown(task_table([record], "fashion"))


def test_kid_of_unscaled_features_has_no_value(records: Any, make_record: Make, visit: Any) -> None:
    record = make_record(metric="kid", title="KID", fd=(14961.0, 15000.0))
    records.add(record)
    row = visit(records.build() / "runs" / f"{record.run_id}.html").locator("tbody tr").first.inner_text()
    assert row.startswith("KID of unscaled features ↓\tLeft out: ") and "no meaning" in row and "14961" not in row
