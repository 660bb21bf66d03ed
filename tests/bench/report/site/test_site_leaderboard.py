"""The leaderboard of a task, opened in a browser: sorting, filtering, choosing runs, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contrast import worst_contrast

from bench.runs.record import Record

Make = Callable[..., Record]
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"
TASK = "toys"


@pytest.fixture
def board(records: Any, make_record: Make) -> Path:
    """The leaderboard of two methods of three training seeds, one of one seed, and a sampler."""
    for method, values in {"good": (2.0, 2.1, 2.2), "bad": (9.0, 9.1, 9.2), "lone": (5.0,)}.items():
        for seed, fd in enumerate(values):
            records.add(make_record(method, seed, (fd, fd + 0.1), task=TASK, protocol=TASK))
    records.add(make_record("teacher-ode", None, (1.0, 1.2), kind="baseline", task=TASK, protocol=TASK, nfe=35))
    return Path(records.build() / "tasks" / f"{TASK}.html")


def methods(page: Any) -> list[str]:
    """Return the methods of the visible rows, in order."""
    return [str(name) for name in page.locator("tbody tr:visible th a").all_inner_texts()]


def head(page: Any, title: str) -> Any:
    return page.locator("thead th", has_text=title)


def test_students_are_ranked_below_the_samplers(board: Path, visit: Any) -> None:
    assert methods(visit(board)) == ["teacher-ode", "good", "lone", "bad"]


def test_a_click_sorts_and_the_next_turns_the_order(board: Path, visit: Any) -> None:
    page = visit(board)
    head(page, "FD").get_by_role("button").click()
    assert methods(page) == ["teacher-ode", "good", "lone", "bad"]
    assert head(page, "FD").get_attribute("aria-sort") == "ascending"
    head(page, "FD").get_by_role("button").click()
    assert methods(page) == ["bad", "lone", "good", "teacher-ode"]
    head(page, "Method").get_by_role("button").click()
    assert methods(page) == ["bad", "good", "lone", "teacher-ode"]
    assert head(page, "FD").get_attribute("aria-sort") == "none"


def test_missing_values_are_last_in_either_order(records: Any, visit: Any, make_record: Make) -> None:
    for method, fd, failed in (("good", 2.0, False), ("broken", 0.0, True), ("bad", 9.0, False)):
        records.add(make_record(method, 0, (fd, fd), failed=failed, task=TASK, protocol=TASK))
    page = visit(records.build() / "tasks" / f"{TASK}.html")
    head(page, "FD").get_by_role("button").click()
    assert methods(page) == ["good", "bad", "broken"]
    head(page, "FD").get_by_role("button").click()
    assert methods(page) == ["bad", "good", "broken"]
    assert "failed: OutOfMemoryError" in page.locator("tbody tr").last.inner_text()


def test_the_filter_takes_words_and_says_how_many_rows_are_left(board: Path, visit: Any) -> None:
    page = visit(board)
    page.get_by_role("searchbox").fill("default BAD")
    assert methods(page) == ["bad"]
    assert page.get_by_role("status").inner_text() == "1 of 4 rows"
    page.get_by_role("searchbox").fill("")
    assert len(methods(page)) == 4


def test_ticked_rows_go_to_the_compare_page(board: Path, visit: Any) -> None:
    page = visit(board)
    link = page.get_by_role("link", name="Compare the 2 chosen")
    page.get_by_label("Compare good").check()
    assert not link.is_visible()
    page.get_by_label("Compare bad").check()
    link.click()
    assert "/compare.html#" in page.url


def test_all_of_it_works_by_keyboard(board: Path, visit: Any) -> None:
    page = visit(board)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("lone")
    assert methods(page) == ["lone"]
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        if reached[-1].startswith("Method"):
            page.keyboard.press("Enter")
            break
    assert head(page, "Method").get_attribute("aria-sort") == "ascending", reached
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is visible


def test_intervals_say_over_what_they_are(board: Path, visit: Any) -> None:
    rows = visit(board).locator("tbody tr")
    good, lone = (rows.filter(has_text=name).inner_text() for name in ("good", "lone"))
    assert "± " in good and "[" not in good
    assert "[" in lone and "±" not in lone


def test_nothing_is_bold_where_a_row_has_one_training_seed(board: Path, visit: Any) -> None:
    assert visit(board).locator("tbody b").count() == 0


def test_the_best_is_bold_where_its_lead_exceeds_the_intervals(
    records: Any, visit: Any, make_record: Make
) -> None:
    for method, values in {"good": (2.0, 2.1, 2.2), "bad": (9.0, 9.1, 9.2)}.items():
        for seed, fd in enumerate(values):
            records.add(make_record(method, seed, (fd, fd + 0.1), task=TASK, protocol=TASK))
    page = visit(records.build() / "tasks" / f"{TASK}.html")
    assert page.locator("tbody b").all_inner_texts() == ["2.15"]


def test_protocols_are_apart_and_smoke_is_no_result(records: Any, visit: Any, make_record: Make) -> None:
    records.add(make_record(task=TASK, protocol="whole"))
    records.add(make_record(task=TASK, protocol="quick", smoke=True))
    page = visit(records.build() / "tasks" / f"{TASK}.html")
    headings = page.locator("h2").all_inner_texts()
    assert [heading.split()[1] for heading in headings] == ["whole", "quick"]
    assert page.locator("section", has_text="not results").locator("h2").inner_text() == headings[1]


def test_what_a_suite_has_and_nobody_ran_is_shown_with_its_command(
    records: Any, visit: Any, make_record: Make
) -> None:
    records.add(make_record("dmd2", 0, (2.0, 2.2), now=True))  # on fashion, the task of Table 3
    page = visit(records.build(["table3"]) / "tasks" / "fashion.html")
    row = page.locator("tbody tr").filter(has=page.get_by_role("rowheader", name="gan-ttur", exact=True))
    assert "not run" in row.inner_text() and "2.52" in row.inner_text()  # the paper's value stays
    page.get_by_text("Not run: 7").click()
    assert page.get_by_text("bench run --method gan-ttur --task fashion --seed 0,1,2").is_visible()


def test_the_table_is_saved_as_csv(board: Path, visit: Any) -> None:
    page = visit(board)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Table (CSV)").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[0].startswith("run_id,created,task") and len(lines) == 1 + 8
    assert saved.value.suggested_filename == f"{TASK}.csv"


def test_the_table_is_plain_without_scripts(board: Path, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(board.as_uri())
    assert methods(page) == ["teacher-ode", "good", "lone", "bad"]
    assert page.locator("button, input").count() == 0
    context.close()


def test_foreign_names_are_text(records: Any, visit: Any, make_record: Make) -> None:
    records.add(make_record(HOSTILE, task=TASK, recipe={"note": HOSTILE}))
    page = visit(records.build() / "tasks" / f"{TASK}.html")
    assert page.locator("img").count() == 0
    shown = "<img src=x onerror=alert(1)>\\x1b[31m\\u202e"
    assert methods(page) == [shown]
    assert shown in page.locator("tbody td.l").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "place", ["tasks/fashion.html", "index.html", "suites/table3.html", "frontier/fashion.html"]
)
def test_every_page_can_be_read(records: Any, visit: Any, make_record: Make, place: str, scheme: str) -> None:
    for seed in range(3):
        records.add(make_record("dmd2", seed, (2.0, 2.2 + seed)))
        records.add(make_record("gan", seed, (3.0, 3.2 + seed)))
    page = visit(records.build(["table3"]) / place, width=390, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert worst_contrast(page) >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # tables scroll within their own box


def test_a_value_of_fewer_training_seeds_than_its_row_says_so(records: Any, visit: Any, make_record: Make) -> None:
    for seed in range(3):
        record = make_record("dmd2", seed, (2.0 + seed, 2.1 + seed), task=TASK, protocol=TASK)
        if seed:
            second = make_record(metric="recall", title="Recall").metrics[0]
            record = record.model_copy(update={"metrics": [*record.metrics, second]})
        records.add(record)
    fd, recall, _, seeds, *_ = (
        visit(records.build() / "tasks" / f"{TASK}.html").locator("tbody td").all_inner_texts()
    )
    assert seeds == "0 1 2"
    assert "n=" not in fd and recall.endswith(", n=2")


def test_records_that_are_not_comparable_are_told_in_sight(records: Any, visit: Any, make_record: Make) -> None:
    for seed, sha256 in enumerate(("ab" * 32, "cd" * 32)):
        data = [{"role": "reference features", "sha256": sha256, "bytes": 1}]
        record = make_record("dmd2", seed, task=TASK, protocol=TASK).model_dump() | {"data": data}
        records.add(Record.model_validate(record))
    site = records.build()
    for path in (f"tasks/{TASK}.html", f"frontier/{TASK}.html"):
        warning = visit(site / path).locator("p.warn")
        assert warning.is_visible() and "the reference features of these records differ" in warning.inner_text()


def test_the_protocol_is_there_in_full_with_its_hash(records: Any, visit: Any, make_record: Make) -> None:
    record = make_record(task=TASK, protocol=HOSTILE, extractors={"distance": "lpips-vgg"})
    records.add(record)
    page = visit(records.build() / "tasks" / f"{TASK}.html")
    page.get_by_text("Protocol in full").click()
    assert page.get_by_text(record.protocol_sha256).is_visible()
    keys = dict(
        zip(page.locator(".keys dt").all_inner_texts(), page.locator(".keys dd").all_inner_texts(), strict=True)
    )
    assert keys["samples"] == "10000" and keys["extractors.distance"] == "lpips-vgg" and keys["smoke"] == "false"
    assert keys["name"] == "<img src=x onerror=alert(1)>\\x1b[31m\\u202e"
    assert keys["network: features"] == "ab" * 32


def test_a_long_heading_has_few_lines(records: Any, visit: Any, make_record: Make) -> None:
    title = "KID of digits-cnn32 / RMS"
    records.add(make_record(task=TASK, protocol=TASK, metric="kid-rms", title=title, fd=(0.0166, 0.0168)))
    heading = visit(records.build() / "tasks" / f"{TASK}.html").locator("thead th button", has_text="KID")
    assert heading.inner_text() == f"{title} × 1,000\u00a0↓"
    assert heading.bounding_box()["height"] < 50  # two lines


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_a_table_is_whole_and_there_is_no_navigation(board: Path, visit: Any, scheme: str) -> None:
    page = visit(board, width=1020, scheme=scheme)  # the text of a page of A4 that lies on its side
    page.emulate_media(media="print", color_scheme=scheme)
    table = page.locator("table.results").bounding_box()
    assert table["x"] + table["width"] <= 1020
    assert not page.locator("nav, .controls").filter(visible=True).count()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert worst_contrast(page) >= 4.5
