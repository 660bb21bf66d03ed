"""Curves over iterations, with a band where one method has several training seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.report.site.charts.axis import Axis, axis_over, holds
from bench.report.site.charts.drawing import (
    WIDTH,
    colour,
    escaped,
    frame,
    left_out,
    line_sign,
    stroke,
    text,
    whole,
)

MOST_POINTS = 300
"""A line with more points is thinned to this number."""

Point = tuple[float, float | None]

HEIGHT = 280
"""Height of a chart, without its legend and notes, in pixels."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: one curve, or those of several training seeds, which become their mean and a band."""

    label: str
    curves: Sequence[Sequence[Point]]
    """For each seed, x and y in order of x; a y that is None or NaN breaks the line."""


def line_chart(series: Sequence[Series], *, title: str, y_label: str, log_y: bool = False) -> str:
    """Draw a line over iterations for each series; several seeds are a mean in a band from least to greatest."""
    kept = [[[p for p in curve if holds(p[0], False)] for curve in one.curves] for one in series]
    shown = [y for curves in kept for curve in curves for _, y in curve if y is not None and holds(y, log_y)]
    left, top, bottom = 58.0, 26.0, HEIGHT - 40.0
    xs = axis_over((x for curves in kept for curve in curves for x, _ in curve), left, WIDTH - 12.0)
    ys = axis_over(shown, bottom, top, log=log_y)
    parts = frame(xs, ys, "iteration", y_label) if shown else []
    for number, (one, curves) in enumerate(zip(series, kept, strict=True)):
        parts.append(_series(one.label, curves, number, xs, ys))
    notes = left_out((y for curves in kept for curve in curves for _, y in curve), log_y)
    if not shown:
        parts.append(text((left + WIDTH) / 2, (top + bottom) / 2, "no values", "middle"))
    legend = [(line_sign(number), one.label) for number, one in enumerate(series)] if len(series) > 1 else []
    return whole(title, parts, HEIGHT, legend, notes)


def _series(label: str, curves: Sequence[Sequence[Point]], number: int, xs: Axis, ys: Axis) -> str:
    """Draw one series: its line, its band if there are several curves, and its title."""
    name = escaped(label)
    if len(curves) == 1:
        return f"<g>{_line(curves[0], number, xs, ys)}<title>{name}</title></g>"
    at: dict[float, list[float]] = {}
    for x, y in sorted((point for curve in curves for point in curve), key=lambda point: point[0]):
        at.setdefault(x, [])
        if y is not None and holds(y, ys.log):
            at[x].append(y)
    low = _thinned([(x, min(found, default=None)) for x, found in at.items()])
    high = _thinned([(x, max(found, default=None)) for x, found in at.items()])
    mean: list[Point] = [(x, math.fsum(found) / len(found) if found else None) for x, found in at.items()]
    around = [(x, y) for x, y in [*high, *reversed(low)] if y is not None]
    corners = " ".join(f"{xs(x):.1f},{ys(y):.1f}" for x, y in around)
    band = f'<polygon points="{corners}" fill="{colour(number)}" fill-opacity=".2"/>'
    words = f"{name}: mean of {len(curves)} training seeds, band from least to greatest"
    return f"<g>{band}{_line(mean, number, xs, ys)}<title>{words}</title></g>"


def _line(points: Sequence[Point], number: int, xs: Axis, ys: Axis) -> str:
    """Draw a line, broken where there is no value; a single point becomes a dot."""
    pieces, dots = [], []
    for there, group in groupby(_thinned(points), key=lambda point: holds(point[1], ys.log)):
        places = [(xs(x), ys(y)) for x, y in group if y is not None] if there else []
        if len(places) == 1:
            x, y = places[0]
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour(number)}"/>')
        elif places:
            pieces.append("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    path = f'<path d="{"".join(pieces)}" fill="none" {stroke(number)}/>' if pieces else ""
    return path + "".join(dots)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most about MOST_POINTS points, with both extremes of each stretch that is made shorter."""
    if len(points) <= MOST_POINTS:
        return points
    kept: list[Point] = [points[0]]
    size = len(points) / (MOST_POINTS // 2 - 1)
    for part in range(MOST_POINTS // 2 - 1):
        stretch = points[round(part * size) : round((part + 1) * size)]
        found = [(y, x) for x, y in stretch if y is not None and math.isfinite(y)]
        if found:
            kept += sorted({(x, y) for y, x in (min(found), max(found))})
        else:
            kept.append(stretch[0])
    return [*kept, points[-1]]
