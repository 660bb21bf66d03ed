"""Values with their intervals, one row for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.site.charts.axis import Axis, axis_over, holds, tick_text
from bench.report.site.charts.drawing import LETTER, WIDTH, colour, dot, escaped, frame, left_out, text, whole


@dataclass(frozen=True)
class Interval:
    """One row of a chart of intervals."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = "not run"
    """What is written where there is no value."""


def interval_chart(rows: Sequence[Interval], *, title: str, x_label: str, log_x: bool = False) -> str:
    """Draw one row for each label: a dot with its interval."""
    step, top = 24.0, 14.0
    bottom = top + step * len(rows)
    left = min(280.0, 16 + LETTER * max((len(row.label) for row in rows), default=0))
    numbers = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    xs = axis_over((value for value in numbers if holds(value, log_x)), left, WIDTH - 14.0, log=log_x)
    parts = frame(xs, None, x_label, "", top, bottom)
    for number, row in enumerate(rows):
        parts.append(_interval_row(row, xs, top + step * (number + 0.5)))
    return whole(title, parts, round(bottom) + 40, [], left_out(numbers, log_x))


def _interval_row(row: Interval, xs: Axis, y: float) -> str:
    most = int((xs.start - 12) / LETTER)
    label = row.label if len(row.label) <= most else row.label[: most - 1] + "…"
    parts, words = [text(xs.start - 8, y + 4, label, "end")], row.label
    low, value, high = row.low, row.value, row.high
    if low is not None and high is not None and holds(low, xs.log) and holds(high, xs.log):
        ends = f"M{xs(low):.1f},{y - 4}v8M{xs(low):.1f},{y}H{xs(high):.1f}M{xs(high):.1f},{y - 4}v8"
        parts.append(f'<path d="{ends}" stroke="{colour(0)}" stroke-width="1.5" fill="none"/>')
    if value is not None and holds(value, xs.log):
        parts.append(dot(xs(value), y))
        words += f": {tick_text(value)}"
    elif value is None:
        parts.append(text(xs.start + 8, y + 4, row.note, "start", ' opacity=".75"'))
    if low is not None and high is not None:
        words += f" [{tick_text(low)}, {tick_text(high)}]"
    return f"<g>{''.join(parts)}<title>{escaped(words)}</title></g>"
