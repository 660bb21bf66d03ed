"""Charts put known points where they belong, escape foreign text, and leave nothing out without a word."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from bench.report.site.charts import (
    Dot,
    Interval,
    Series,
    as_file,
    interval_chart,
    line_chart,
    pareto,
    scatter_chart,
)
from bench.report.site.charts.axis import Axis, axis_over, tick_text
from bench.report.site.charts.drawing import PALETTE, WIDTH
from bench.report.site.charts.lines import MOST_POINTS

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>"&\x1b[31m'


def lines_of(*series: Series, log_y: bool = False) -> str:
    return line_chart(series, title="a title", y_label="FD", log_y=log_y)


def words(chart: str) -> str:
    return " ".join(element.text or "" for element in ET.fromstring(chart).iter(f"{SVG}text"))


def points(chart: str) -> list[tuple[float, float]]:
    """Return the corners of the only line of a chart."""
    path = next(
        e for e in ET.fromstring(chart).iter(f"{SVG}path") if e.get("fill") == "none" and e.get("stroke-width")
    )
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", path.get("d", ""))]


def test_an_axis_maps_its_ends_and_its_middle() -> None:
    assert [Axis(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert Axis(1, 100, 200, 100, log=True)(10) == pytest.approx(150)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0.0, 0.03, [0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert Axis(low, high, 0, 1).ticks(6) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_axis_are_decades_or_their_parts() -> None:
    assert Axis(1, 1000, 0, 1, log=True).ticks() == [1, 10, 100, 1000]
    assert Axis(1, 10, 0, 1, log=True).ticks() == [1, 2, 5, 10]
    assert len(Axis(40, 45, 0, 1, log=True).ticks()) >= 3
    assert len(Axis(1e-30, 1e30, 0, 1, log=True).ticks(6)) <= 7


def test_numbers_at_ticks_are_short() -> None:
    assert [tick_text(v) for v in (0, 0.1 + 0.2, -2.5, 10_000, 2e-7, 1e9)] == [
        "0",
        "0.3",
        "−2.5",
        "10,000",
        "2e−7",
        "1e9",
    ]


@pytest.mark.parametrize(("value", "log"), [(math.nan, False), (math.inf, False), (0.0, True), (-3.0, True)])
def test_an_axis_refuses_a_value_by_name(value: float, log: bool) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"{value!r} has no place on a {'logarithmic' if log else 'linear'}")
    ):
        axis_over([1.0, value], 0, 1, log=log)


def test_a_line_goes_through_its_points() -> None:
    (x0, y0), (x1, y1), (x2, y2) = points(lines_of(Series("a", [[(0, 1.0), (5, 2.0), (10, 3.0)]])))
    assert 0 < x0 < x1 < x2 < WIDTH
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y2  # larger values are higher up


def test_seeds_become_a_mean_in_a_band() -> None:
    chart = lines_of(Series("dmd2", [[(0, 1.0), (10, 2.0)], [(0, 3.0), (10, 6.0)]]))
    corners = next(ET.fromstring(chart).iter(f"{SVG}polygon")).get("points", "").split()
    tops = [float(corner.split(",")[1]) for corner in corners]
    (_, left), (_, right) = points(chart)
    assert left == pytest.approx((tops[0] + tops[3]) / 2, abs=0.1)
    assert right == pytest.approx((tops[1] + tops[2]) / 2, abs=0.1)
    assert "dmd2: mean of 2 training seeds, band from least to greatest" in chart


def test_a_value_that_is_no_number_breaks_the_line_and_is_counted() -> None:
    chart = lines_of(Series("a", [[(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, None), (5, 2.0), (6, 2.5)]]))
    assert "M" in chart and "1 left out: not finite" in words(chart)
    assert "nan" not in chart.lower()
    assert next(ET.fromstring(chart).iter(f"{SVG}circle")).get("r") == "2.5"  # the lonely value between two gaps


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show_and_says_so() -> None:
    chart = lines_of(Series("a", [[(0, -1.0), (1, 0.0), (2, 10.0), (3, 1000.0)]]), log_y=True)
    assert "2 left out: not above zero, on a logarithmic axis" in words(chart)
    assert len(points(chart)) == 2


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0], [0.0], [0.0, 0.0], [-1e-12], [1e18, 1e18]])
@pytest.mark.parametrize("log", [False, True])
def test_one_point_and_constant_series_can_be_drawn(values: list[float], log: bool) -> None:
    ET.fromstring(lines_of(Series("a", [list(enumerate(values))]), log_y=log))


def test_a_chart_without_values_says_so() -> None:
    assert "no values" in words(lines_of())
    assert "no values" in words(lines_of(Series("a", [[(0, None)]])))
    assert "no values" in words(scatter_chart([], title="t", x_label="x", y_label="y"))


def test_long_lines_are_thinned_but_keep_their_extremes() -> None:
    values = [(float(i), math.sin(i)) for i in range(10_000)]
    values[4321] = (4321.0, 50.0)
    values[8765] = (8765.0, -50.0)
    found = points(lines_of(Series("a", [values])))
    assert len(found) <= MOST_POINTS
    whole = points(lines_of(Series("a", [[(0.0, 0.0), (4321.0, 50.0), (8765.0, -50.0), (9999.0, 0.0)]])))
    assert min(y for _, y in found) == whole[1][1]
    assert max(y for _, y in found) == whole[2][1]


def test_foreign_text_is_escaped_everywhere() -> None:
    charts = [
        line_chart([Series(HOSTILE, [[(0, 1)]]), Series("b", [[(0, 1)]])], title=HOSTILE, y_label=HOSTILE),
        interval_chart(
            [Interval(HOSTILE, 1.0), Interval("b", None, note=HOSTILE)], title=HOSTILE, x_label=HOSTILE
        ),
        scatter_chart([Dot(HOSTILE, 1, 1)], title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE),
    ]
    for chart in charts:
        assert "<script" not in chart and "\x1b" not in chart
        ET.fromstring(as_file(chart))


def test_every_series_has_a_title_and_a_legend_below_the_lines() -> None:
    chart = ET.fromstring(lines_of(*(Series(f"series {i}", [[(0, i), (1, i)]]) for i in range(9))))
    assert {title.text for title in chart.iter(f"{SVG}title")} == {f"series {i}" for i in range(9)}
    assert all(
        float(e.get("y", "0")) > 280 for e in chart.iter(f"{SVG}text") if (e.text or "").startswith("series")
    )


def test_the_interval_chart_shows_values_and_what_was_not_run() -> None:
    rows = [Interval("ours", 2.0, 1.0, 3.0), Interval("absent", None)]
    chart = interval_chart(rows, title="t", x_label="FID")
    assert "ours: 2 [1, 3]" in chart
    assert "not run" in words(chart)


def test_the_pareto_set_is_what_no_other_point_beats() -> None:
    dots = [Dot("fast", 1, 3), Dot("good", 4, 1), Dot("worse", 4, 2), Dot("beaten", 2, 3), Dot("also fast", 1, 3)]
    assert [dots[i].label for i in pareto(dots, "lower", "lower")] == ["fast", "also fast", "good"]
    assert [dots[i].label for i in pareto(dots, "higher", "higher")] == ["worse", "beaten"]


def test_labels_of_near_points_do_not_overlap() -> None:
    chart = ET.fromstring(
        scatter_chart([Dot(f"m{i}", 1 + i / 1000, 1) for i in range(6)], title="t", x_label="x", y_label="y")
    )
    places = [
        (float(e.get("x", "0")), float(e.get("y", "0")))
        for e in chart.iter(f"{SVG}text")
        if (e.text or "")[:1] == "m"
    ]
    assert len(set(places)) == 6


def test_a_label_without_room_is_named_below() -> None:
    chart = scatter_chart([Dot(f"m{i}", 1, 1) for i in range(60)], title="t", x_label="x", y_label="y")
    named = words(chart)
    assert "no room for the labels of: " in named
    assert all(re.search(rf"\bm{i}\b", named) for i in range(60))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", PALETTE)
@pytest.mark.parametrize("page", ["#ffffff", "#161618"])
def test_colours_can_be_seen_on_light_and_dark_pages(colour: str, page: str) -> None:
    light, dark = sorted((_luminance(colour), _luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_of_many_points_only_the_best_have_labels() -> None:
    dots = [Dot(f"dot{i}", float(i), 100.0 - i if i < 2 else 200.0) for i in range(1, 60)]
    chart = scatter_chart(dots, title="a title", x_label="cost", y_label="FD")
    labels = words(chart)
    assert "dot1" in labels and "dot30" not in labels
    assert "of so many points only full ones have labels" in labels
    assert "dot30" in chart  # what the pointer shows
