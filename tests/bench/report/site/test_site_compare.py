"""The comparison of runs, opened in a browser; its tests are Python's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contrast import worst_contrast
from scipy import stats

from bench.report.cells import number
from bench.report.comparison.significance import Comparison, holm, one_sample, paired, shown_p, welch
from bench.report.comparison.text import signed
from bench.report.measured import fixed
from bench.runs.record import Record

Make = Callable[..., Record]


@pytest.fixture
def make(make_record: Make) -> Make:
    """Make records whose generation seeds have no two equal differences."""
    return lambda *given, **more: make_record(*given, **({"fd": (2.0, 2.2, 2.5)} | more))


def opened(visit: Any, records: Any, *names: str, **more: Any) -> Any:
    page = visit(records.build() / "compare.html", "#" + ",".join(names), **more)
    page.locator("#result h2, #result .soft").first.wait_for()
    return page


def section(page: Any, name: str) -> Any:
    return page.locator("section", has=page.get_by_role("heading", name=name))


def colours(page: Any, row: int) -> list[tuple[int, ...]]:
    """Return the colour in the middle of each tile of a row, as it is shown."""
    from io import BytesIO

    from PIL import Image

    found = []
    for tile in page.locator(".tiles tbody tr").nth(row).locator("button").all():
        image = np.asarray(Image.open(BytesIO(tile.screenshot())).convert("RGB"))
        found.append(tuple(int(v) for v in image[image.shape[0] // 2, image.shape[1] // 2]))
    return found


def test_a_row_has_one_noise_and_the_teacher_first(records: Any, make: Make, visit: Any) -> None:
    a = records.add(make(), colours=200)
    b = records.add(make("dmd"), colours=100)
    records.add(make("teacher-ode", None, kind="baseline"), colours=50)
    page = opened(visit, records, a, b)
    heads = page.locator(".tiles thead th").all_inner_texts()
    assert heads == ["Condition", "teacher-ode (teacher)", "dmd2, seed 0", "dmd, seed 0"]
    assert page.locator(".tiles tbody th").nth(3).inner_text() == "<i>prompt</i> 3"
    assert colours(page, 3) == [(50, 30, 0), (200, 30, 0), (100, 30, 0)]
    page.get_by_role("button", name="Show all 12").click()
    assert colours(page, 11) == [(50, 110, 0), (200, 110, 0), (100, 110, 0)]  # in the second row of the sheet


def test_a_sheet_of_other_noise_is_never_in_the_rows(records: Any, make: Make, visit: Any) -> None:
    a = records.add(make(), colours=200)
    other = records.add(make("dmd"), colours=100, noise="another")
    without = records.add(make("gan"))
    page = opened(visit, records, a, other, without)
    assert page.locator(".tiles thead th").all_inner_texts() == ["Condition", "dmd2, seed 0"]
    said = section(page, "Images").inner_text()
    assert "dmd, seed 0 is not in the rows: its images are of other noise or conditions." in said
    assert "gan, seed 0 is not in the rows: no sample sheet was kept." in said
    assert "There are no images of the teacher from this noise." in said


def test_runs_with_several_training_seeds_are_compared_by_welch(records: Any, make: Make, visit: Any) -> None:
    values = {"dmd2": [2.0, 2.3, 2.1], "dmd": [3.0, 3.4, 3.1]}
    names: dict[str, str] = {}
    for method, numbers in values.items():
        for seed, value in enumerate(numbers):
            name = records.add(make(method, seed, fd=(value - 0.1, value + 0.1)))
            names.setdefault(method, name)
    page = opened(visit, records, names["dmd2"], names["dmd"])
    cell = page.locator("td[data-p]")
    expected = welch(values["dmd"], values["dmd2"])
    low, high = expected.interval()
    assert float(cell.get_attribute("data-p")) == pytest.approx(expected.p, abs=1e-6)
    assert cell.inner_text().split("\n") == [
        f"3.00 +{expected.difference:.2f} [+{low:.2f}, +{high:.2f}]",
        f"{expected} training seeds: differ at 95 %: worse",
    ]


def test_a_recipe_is_compared_with_the_one_value_of_a_sampler(records: Any, make: Make, visit: Any) -> None:
    values = [2.0, 2.3, 2.1]
    a, *_ = [records.add(make(seed=seed, fd=(value, value))) for seed, value in enumerate(values)]
    sampler = records.add(make("teacher-ode", None, kind="baseline", fd=(1.5,)))
    for names, sign in (((sampler, a), 1), ((a, sampler), -1)):
        cell = opened(visit, records, *names).locator("td[data-p]")
        expected = one_sample(values, 1.5)
        assert float(cell.get_attribute("data-p")) == pytest.approx(expected.p, abs=1e-6)
        assert float(cell.get_attribute("data-t")) == pytest.approx(sign * expected.t)
        shown = f"{'+' if sign > 0 else '−'}{expected.difference:.2f} ["
        assert shown in cell.inner_text() and "one-sample t" in cell.inner_text()


def test_the_error_of_a_sampler_counts(records: Any, make: Make, visit: Any) -> None:
    values, sampled = [2.0, 2.3, 2.1], (1.5, 1.6, 1.4)
    a, *_ = [records.add(make(seed=seed, fd=(value, value))) for seed, value in enumerate(values)]
    sampler = records.add(make("teacher-ode", None, kind="baseline", fd=sampled))
    cell = opened(visit, records, a, sampler).locator("td[data-p]")
    expected = welch(values, sampled)
    assert float(cell.get_attribute("data-p")) == pytest.approx(expected.p, abs=1e-6)
    assert float(cell.get_attribute("data-t")) == pytest.approx(-expected.t)
    assert "n = 3 and 3 training and generation seeds" in cell.inner_text()


def test_one_training_seed_is_not_tested_against_several(records: Any, make: Make, visit: Any) -> None:
    a, *_ = [records.add(make(seed=seed)) for seed in range(3)]
    b = records.add(make("dmd"))
    page = opened(visit, records, a, b)
    assert "dmd, seed 0 has one training seed, so no test" in section(page, "Metrics").inner_text()
    assert page.locator("td[data-p]").count() == 0


def test_p_values_of_several_pairs_are_adjusted_once_for_each_recipe(records: Any, make: Make, visit: Any) -> None:
    values = {"dmd2": [2.0, 2.3, 2.1], "dmd": [3.0, 3.4, 3.1], "gan": [2.2, 2.8, 2.4]}
    names = {
        method: [records.add(make(method, seed, fd=(v, v))) for seed, v in enumerate(of)]
        for method, of in values.items()
    }
    page = opened(visit, records, names["dmd2"][0], *names["dmd"][:2], names["gan"][0])
    adjusted = holm([welch(values[method], values["dmd2"]).p for method in ("dmd", "gan")])
    said = page.locator("td[data-p]").all_inner_texts()
    for words, p in zip(said, (adjusted[0], adjusted[0], adjusted[1]), strict=True):
        assert f"Holm's p {shown_p(p)}, n = 3 and 3 training seeds" in words


def test_single_runs_are_compared_in_pairs_of_generation_seeds(records: Any, make: Make, visit: Any) -> None:
    first, second = (2.0, 2.2, 2.5), (2.1, 2.4, 2.65)
    a, b = records.add(make(fd=first)), records.add(make("dmd", fd=second))
    page = opened(visit, records, a, b)
    cell = page.locator("td[data-p]")
    assert float(cell.get_attribute("data-p")) == pytest.approx(stats.ttest_rel(second, first).pvalue, abs=1e-6)
    assert "paired t = " in cell.inner_text() and "n = 3 generation seeds" in cell.inner_text()
    assert "It is about these two students and not about the methods" in section(page, "Metrics").inner_text()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"protocol": "fashion-small"}, "it was measured under another protocol, fashion-small"),
        ({"features": "cd"}, "it was measured with another teacher or feature network"),
        ({"task": "digits"}, "it is of another task, digits"),
        ({"failed": True}, "it failed"),
    ],
)
def test_what_cannot_be_compared_is_named_and_left_out(
    records: Any, make: Make, visit: Any, changed: dict[str, Any], reason: str
) -> None:
    a, b = records.add(make()), records.add(make("dmd", **changed))
    page = opened(visit, records, a, b)
    said = section(page, "Metrics").inner_text()
    assert re.search(rf"dmd, seed 0(, failed)? is not compared with dmd2, seed 0: {reason}\.", said)
    assert page.locator("td[data-p]").count() == 0


def test_only_differences_of_recipes_are_shown(records: Any, make: Make, visit: Any) -> None:
    a, b = (
        records.add(make(recipe={"gan": True, "pairs": 4})),
        records.add(make(seed=1, recipe={"gan": False, "pairs": 4})),
    )
    baseline = records.add(make("teacher-ode", None, kind="baseline"))
    page = opened(visit, records, a, b, baseline)
    rows = section(page, "Recipe differences").locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["method", "dmd2", "dmd2", "teacher-ode"],
        ["training seed", "0", "1", "–"],
        ["gan", "true *", "false *", "–"],
    ]


def test_runs_are_chosen_and_enlarged_by_keyboard_alone(records: Any, make: Make, visit: Any) -> None:
    a, b = records.add(make(), colours=200), records.add(make("dmd"), colours=100)
    page = opened(visit, records, a)
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == "pick":
            break
        page.keyboard.press("Tab")
    page.keyboard.type("dmd, ")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Metrics").wait_for()
    assert page.url.endswith(f"#{a},{b}")
    for _ in range(20):
        if page.evaluate("document.activeElement.classList.contains('tile')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    assert "Image 1 of 12: <i>prompt</i> 0" in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert "Image 2 of 12" in dialog.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "Image 12 of 12" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    page.get_by_role("button", name=f"Remove {b}").press("Enter")
    page.get_by_text("Add another run").wait_for()


def test_an_address_with_an_unknown_run_says_so(records: Any, make: Make, visit: Any) -> None:
    records.add(make())
    page = opened(visit, records, "no-such-run", "%E0%A4%A", "<b>x")
    said = page.locator("#chosen .warn").all_inner_texts()
    assert [words.strip() for words in said] == ["There is no run of this name on this site."] * 3
    assert "Choose two or more runs" in page.locator("#result").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read(records: Any, make: Make, visit: Any, scheme: str) -> None:
    names = [
        records.add(make(name, fd=(value, value + 0.2, value + 0.5)), colours=9)
        for name, value in (("dmd2", 2.0), ("dmd", 2.5), ("gan", 1.0))
    ]
    page = opened(visit, records, *names, width=390, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert worst_contrast(page) >= 4.5
    page.locator(".tile").first.click()
    assert page.locator("dialog[open]").bounding_box()["width"] <= 390


def test_p_values_are_scipys(records: Any, make: Make, visit: Any) -> None:
    records.add(make())
    page = visit(records.build() / "compare.html")
    grid = [
        (t, degrees)
        for t in (0.0, 1e-3, 0.3, -1.0, 2.5, -4.0, 12.0, 300.0)
        for degrees in (1, 2, 2.7, 4, 9.5, 30, 1000)
    ]
    found = page.evaluate("(grid) => grid.map(([t, degrees]) => statistics.twoSided(t, degrees))", grid)
    expected = [2 * stats.t.sf(abs(t), degrees) for t, degrees in grid]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


def test_the_tests_are_pythons(records: Any, make: Make, visit: Any) -> None:
    records.add(make())
    page = visit(records.build() / "compare.html")
    draw = np.random.default_rng(0)
    script = """([a, b]) => [statistics.welch(a, b), statistics.paired(a, b), statistics.oneSample(a, 6)].map(
        (test) => [test.difference, test.error, test.degrees, test.t, test.p, ...test.interval(0.9)])"""
    for count in (2, 3, 8):
        first, second = draw.normal(5, 1, count).tolist(), draw.normal(6, 3, count).tolist()
        for found, python in zip(
            page.evaluate(script, [first, second]),
            (welch(first, second), paired(first, second), one_sample(first, 6)),
            strict=True,
        ):
            expected = (python.difference, python.error, python.degrees, python.t, python.p, *python.interval(0.9))
            assert found == pytest.approx(expected, rel=1e-9)
    p = draw.uniform(0, 0.1, 6).tolist()
    assert page.evaluate("(p) => statistics.holm(p)", p) == pytest.approx(holm(p))
    none = "[statistics.welch([1], [1, 2]), statistics.paired([1, 2], [2, 3]), statistics.paired([1], [2])]"
    assert page.evaluate(none) == [None] * 3


def test_numbers_are_written_as_pythons(records: Any, make: Make, visit: Any) -> None:
    """Halves that float64 has exactly, sizes that need an exponent, and what lies on either side of a level."""
    records.add(make())
    page = visit(records.build() / "compare.html")
    sizes = [1e-7, 3.2e-4, 0.0, 999.996, 1e6, 1.04e9, 3e12]
    shown = [sign * one for sign in (1, -1) for one in [*(count / 16 for count in range(1, 80)), *sizes]]
    assert page.evaluate("(all) => all.map((one) => numbers.fixed(one, 3))", shown) == [fixed(n, 3) for n in shown]
    minus = [number(one).replace("-", "−") for one in shown]
    assert page.evaluate("(all) => all.map(numbers.value)", shown) == minus
    p = [0.04999999999, 0.05, 0.0500001, 0.0099996, 0.375, 0.99, 3e-4, 1e-6]
    assert page.evaluate("(all) => all.map((p) => numbers.p(p, 0.05))", p) == [shown_p(one) for one in p]
    tests = [Comparison("Welch's t", one, error, 2, (3, 3)) for one in shown for error in (0.5, 4.0, 1e-6)]
    given = [[[test.difference, *test.interval()], test.error] for test in tests]
    found = page.evaluate("(all) => all.map(([ends, error]) => numbers.signed(ends, error))", given)
    assert [tuple(one) for one in found] == [signed(test, 0.95) for test in tests]


def test_seeds_of_one_recipe_are_compared_from_the_page_of_a_run(records: Any, make: Make, visit: Any) -> None:
    a = records.add(make())
    records.add(make(seed=1, fd=(2.1, 2.4, 2.65)))
    page = visit(Path(records.build()) / "runs" / f"{a}.html")
    page.get_by_role("link", name="compare", exact=True).click()
    page.get_by_role("heading", name="Metrics").wait_for()
    assert page.locator("#chosen li").count() == 2
    assert "paired t" in page.locator("td[data-p]").inner_text()


def test_runs_whose_data_differ_are_compared_with_a_warning(records: Any, make: Make, visit: Any) -> None:
    names = []
    for seed, sha256 in enumerate(("ab" * 32, "cd" * 32)):
        data = [{"role": "reference features", "sha256": sha256, "bytes": 1}]
        names.append(records.add(Record.model_validate(make(seed=seed).model_dump() | {"data": data})))
    page = opened(visit, records, *names)
    warning = section(page, "Metrics").locator(".warn").inner_text()
    assert warning.endswith("their numbers are not comparable: reference features.")
