"""The charts of a suite: its values with their intervals, and its curves over training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from bench.core.errors import UserError
from bench.metrics.titles import shown_title
from bench.report.lines import Line
from bench.report.progress import read_progress
from bench.report.site.boards import Variant
from bench.report.site.charts import Interval, Series, interval_chart, line_chart
from bench.report.site.charts.axis import is_wide
from bench.report.site.pages import Chart, Site
from bench.report.site.tables import Table
from bench.report.summary import GENERATION_SEEDS
from bench.runs.suites.suite import Curve, SuiteScale

MOST_INTERVALS = 2
"""Charts of intervals for each table: those of its first metrics."""
WIDE_RANGE = 20
"""Positive values whose greatest is this many times the least get a logarithmic axis."""
INTERVALS = "bars are intervals over training seeds; of a row with *, over generation seeds."
PANELS: Mapping[Curve, tuple[str, str, str]] = {
    "brightness": ("pixel_mean", "Brightness over training", "mean pixel, 0 to 1"),
    "fd": ("fd", "FD over training", "FD"),
}
"""For each curve: its key in a run's log, its title, and the label of y."""


def interval_charts(scale: SuiteScale, tables: Sequence[Table]) -> Iterator[Chart]:
    """Yield a chart of each table's first metrics: one dot with its interval for each row that was run."""
    for table in tables:
        run = [row for row in table.rows if row.variant]
        titles = {
            name: shown_title(name, found["title"], row.variant.entries[0].record.protocol)
            for row in run
            if row.variant
            for name, found in row.variant.metrics.items()
        }
        for name in [name for name in scale.columns if name in titles][:MOST_INTERVALS]:
            rows = [_interval(row.label, row.variant, name) for row in run if row.variant]
            ends = [one.value for one in rows if one.value is not None]
            svg = interval_chart(rows, title=titles[name], x_label=titles[name], log_x=is_wide(ends, WIDE_RANGE))
            yield Chart(svg, f"{titles[name]}: {INTERVALS}")


def _interval(label: str, variant: Variant, name: str) -> Interval:
    one = variant.measured(name)
    if one.value is None:
        return Interval(label, None, note="no value")
    low, high = (one.low, one.high) if one.interval else (None, None)
    return Interval(f"* {label}" if one.interval == GENERATION_SEEDS else label, one.value, low, high)


def curve_charts(
    site: Site, curves: Sequence[Curve], lines: Sequence[Line], owned: Sequence[Mapping[int, Sequence[Variant]]]
) -> Iterator[Chart]:
    """Yield a chart for each curve of a suite of which there is any log; the seeds of a line become a band."""
    logs = {number: _logs(site, owned, number) for number, line in enumerate(lines) if line.kind == "method"}
    for curve in curves:
        key, title, y_label = PANELS[curve]
        series = []
        for number, found in logs.items():
            points = [[(float(line["iteration"]), line[key]) for line in log if key in line] for log in found]
            if any(points):
                series.append(Series(lines[number].label, [one for one in points if one]))
        if series:
            svg = line_chart(series, title=title, y_label=y_label, log_y=curve == "fd")
            yield Chart(svg, f"{title}: {_seeds({len(one.curves) for one in series})}.")


def _seeds(counts: AbstractSet[int]) -> str:
    """Say of how many training seeds curves are; only seeds whose logs are kept have one."""
    if counts == {1}:
        return "one training seed each, whose log is kept"
    several = " or ".join(map(str, sorted(counts)))
    return f"the mean over {several} training seeds whose logs are kept, in a band from the least to the greatest"


def _logs(site: Site, owned: Sequence[Mapping[int, Sequence[Variant]]], number: int) -> list[list[dict[str, Any]]]:
    """Return the training logs of a line's runs; one that cannot be read is a problem of the site."""
    logs = []
    for path in dict.fromkeys(
        entry.evidence.curves
        for variants in owned
        for variant in variants.get(number, ())
        for entry in variant.entries
        if entry.evidence.curves
    ):
        try:
            logs.append(read_progress(path))
        except UserError as error:
            site.problems.append(f"{error}; left out of the site's curves")
    return logs
