"""Labelled points of two quantities, with those that no other point beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from bench.report.site.charts.axis import Axis, axis_over, holds, tick_text
from bench.report.site.charts.drawing import LETTER, WIDTH, colour, dot, escaped, frame, left_out, text, whole

MOST_LABELS = 40
"""With more points, only those that no other beats have labels."""
HALO = ' paint-order="stroke" stroke="var(--paper,#fff)" stroke-width="3"'
"""Labels can be read where a line crosses them."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

HEIGHT = 340
"""Height of a chart, without its legend and notes, in pixels."""


@dataclass(frozen=True)
class Dot:
    """One labelled point of a scatter chart."""

    label: str
    x: float
    y: float
    low: float | None = None
    """Interval of y."""
    high: float | None = None


def scatter_chart(
    dots: Sequence[Dot],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    better_x: str = "lower",
    better_y: str = "lower",
) -> str:
    """Draw labelled points; those that no other point beats in both directions are full and joined by steps."""
    kept = [one for one in dots if holds(one.x, log_x) and holds(one.y, log_y)]
    bounds = [end for one in kept for end in (one.low, one.high) if end is not None and holds(end, log_y)]
    left, top, bottom = 58.0, 26.0, HEIGHT - 40.0
    xs = axis_over((one.x for one in kept), left, WIDTH - 14.0, log=log_x)
    ys = axis_over([*(one.y for one in kept), *bounds], bottom, top, log=log_y)
    best = pareto(kept, better_x, better_y)
    parts = frame(xs, ys, x_label, y_label) if kept else []
    if len(best) > 1:
        steps = _steps([kept[number] for number in best], xs, ys)
        parts.append(f'<path d="{steps}" fill="none" stroke="{colour(0)}" stroke-dasharray="4 3"/>')
    for number, one in enumerate(kept):
        parts.append(_dot(one, number in best, xs, ys))
    if not kept:
        parts.append(text(WIDTH / 2, (top + bottom) / 2, "no values", "middle"))
    labelled = kept if len(kept) <= MOST_LABELS else [kept[number] for number in best]
    labels, unlabelled = _labels(
        [(one.label, xs(one.x), ys(one.y)) for one in labelled], (left, top, WIDTH, bottom)
    )
    notes = left_out((one.x for one in dots), log_x) + left_out((one.y for one in dots), log_y)
    notes += ["of so many points only full ones have labels; the pointer shows the others"] * (
        labelled is not kept
    )
    notes += [f"no room for the labels of: {', '.join(unlabelled)}"] if unlabelled else []
    legend = [(dot(11, 0), "no other is better in both"), (dot(11, 0, full=False), "another is better in both")]
    return whole(title, [*parts, *labels], HEIGHT, legend, notes)


def pareto(dots: Sequence[Dot], better_x: str, better_y: str) -> list[int]:
    """Return the positions of the dots that no other dot matches in both directions and beats in one, by x."""
    x_sign, y_sign = (1 if better == "lower" else -1 for better in (better_x, better_y))
    places = [(x_sign * one.x, y_sign * one.y) for one in dots]
    best, least, ties = [], math.inf, (math.nan, math.nan)
    for place, number in sorted((place, number) for number, place in enumerate(places)):
        if place[1] < least or place == ties:
            best.append(number)
            least, ties = place[1], place
    return best


def _steps(best: Sequence[Dot], xs: Axis, ys: Axis) -> str:
    """Return a path of steps along the points, from the best x on: the best y that is reached up to each x."""
    path = f"M{xs(best[0].x):.1f},{ys(best[0].y):.1f}"
    return path + "".join(f"H{xs(one.x):.1f}V{ys(one.y):.1f}" for one in best[1:])


def _dot(one: Dot, full: bool, xs: Axis, ys: Axis) -> str:
    x, y, words = xs(one.x), ys(one.y), f"{one.label}: {tick_text(one.x)}, {tick_text(one.y)}"
    mark = dot(x, y, full=full)
    if one.low is not None and one.high is not None and holds(one.low, False) and holds(one.high, False):
        ends = f"{ys(max(one.low, ys.low)):.1f}V{ys(one.high):.1f}"
        mark += f'<path d="M{x:.1f},{ends}" stroke="{colour(0)}" opacity=".6"/>'
        words += f" [{tick_text(one.low)}, {tick_text(one.high)}]"
    return f"<g>{mark}<title>{escaped(words)}</title></g>"


def _labels(points: Sequence[tuple[str, float, float]], room: Box) -> tuple[list[str], list[str]]:
    """Place labels beside their points, away from each other; return their text and the labels without a place.

    A label right beside its point comes first, since another there would seem to be its own.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in points]
    placed: list[str] = []
    left = list(points)
    for distances in ((0,), (13, -13, 26, -26, 39, -39)):
        left, points = [], left
        for label, x, y in points:
            wide = LETTER * len(label)
            boxes = (
                (x + sideways, y + distance - 6, x + sideways + wide, y + distance + 6)
                for distance, sideways in product(distances, (8, -8 - wide))
            )
            box = next(
                (one for one in boxes if _within(one, room) and not any(_overlap(one, b) for b in taken)), None
            )
            if box is None:
                left.append((label, x, y))
                continue
            taken.append(box)
            if distances != (0,):
                placed.append(_leader(x, y, box))
            at, anchor = (box[2], "end") if box[0] < x - 8 else (box[0], "start")
            placed.append(text(at, box[3] - 2, label, anchor, HALO))
    return placed, [label for label, _, _ in left]


def _within(box: Box, room: Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _leader(x: float, y: float, box: Box) -> str:
    """Return a thin line from a point to its label."""
    end = min(max(x, box[0]), box[2])
    edge = box[1] if box[1] > y else box[3]
    return f'<path d="M{x:.1f},{y:.1f}L{end:.1f},{edge:.1f}" stroke="currentColor" opacity=".4"/>'
