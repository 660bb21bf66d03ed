"""The curves of a run's training as charts: losses, gradients, FD on the way, brightness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report.site.charts import Series, line_chart
from bench.report.site.charts.axis import is_wide

WIDE_RANGE = 30
"""Positive values whose greatest is this many times the least get a logarithmic axis."""


@dataclass(frozen=True)
class Chart:
    """A chart of a run's page."""

    name: str
    """Part of its file's name."""
    title: str
    svg: str


_CHARTS = (
    ("loss", "loss/", "Losses", "loss"),
    ("fd", "fd", "FD during training", "FD"),
    ("gradient", "gradient/", "Gradient norms by network", "gradient norm"),
    ("image-gradient", "image_gradient/", "Gradient norms by term, on the images", "gradient norm"),
    ("brightness", "pixel_mean", "Brightness of generated images", "mean pixel, 0 to 1"),
)
"""For each chart: its name, the key in the log or the beginning of keys, its title, and the label of y."""


def curves_of(log: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    """Yield the charts for which a log has values."""
    keys = sorted({key for line in log for key in line})
    for name, wanted, title, y_label in _CHARTS:
        found = [key for key in keys if key == wanted or (wanted.endswith("/") and key.startswith(wanted))]
        series = [Series(key.removeprefix(wanted) or y_label, [_points(log, key)]) for key in found]
        if series:
            values = [y for one in series for _, y in one.curves[0] if y is not None and abs(y) < math.inf]
            logarithmic = is_wide(values, WIDE_RANGE)
            svg = line_chart(series, title=title, y_label=y_label, log_y=logarithmic)
            yield Chart(name, title, svg)


def _points(log: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float | None]]:
    return [(line["iteration"], line[key]) for line in log if key in line]
