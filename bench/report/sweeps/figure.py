"""The figure of a sweep: its points in each plane, those that no other beats, and the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.escape import printable
from bench.core.files import whole_file
from bench.report.site.charts.axis import is_wide
from bench.report.site.charts.drawing import PALETTE
from bench.report.site.frontier import WIDE_RANGE
from bench.report.sweeps.frontier import Panel, panels
from bench.runs.sweeps.record import Sweep, SweptPoint

STYLES = ("-", "--", ":", "-.")
"""Dashes of the lines, which tell apart those that share a colour."""
MOST_LINES = 12
"""With more lines the legend names the first ones alone, and says so."""
REPEATABLE: dict[Any, Any] = {"svg.hashsalt": "sweep", "svg.fonttype": "none"}
"""An SVG file of the same sweep has the same bytes, and its text is text."""


def sweep_figure(found: Sweep, out: Path) -> None:
    """Draw a sweep; the suffix of `out` sets the format: .png, .svg or .pdf.

    In each plane, points that no other beats are full, all others open, and the chosen one has a ring.
    """
    planes = panels(found)
    with rc_context(REPEATABLE):
        figure = Figure(figsize=(4.6 * len(planes), 4.4), layout="constrained")
        for axes, plane in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
            _draw(axes, plane, found)
        figure.legend(handles=_signs(found), loc="outside lower center", ncols=3, fontsize="small", frameon=False)
        metadata: dict[str, Any] = {"Date": None} if out.suffix == ".svg" else {}
        with whole_file(out) as temporary:
            figure.savefig(temporary, dpi=100, metadata=metadata)


def _draw(axes: Axes, plane: Panel, found: Sweep) -> None:
    """Draw one plane: a line for each combination of the axes that the lines do not follow."""
    points, optimal = found.points, plane.optimal(found.points)
    for number, (label, positions) in enumerate(plane.lines(points).items()):
        colour, style = PALETTE[number % len(PALETTE)], STYLES[number // len(PALETTE) % len(STYLES)]
        kept = [(place, *where) for place in positions if (where := _where(plane, points[place])) is not None]
        shown = printable(label) if number < MOST_LINES else "_"
        axes.plot(
            [x for _, x, _ in kept], [y for _, _, y in kept], style, color=colour, linewidth=1.2, label=shown
        )
        for place, x, y in kept:
            face = colour if place in optimal else "white"
            axes.plot([x], [y], "o", color=colour, markerfacecolor=face, markersize=5, zorder=3)
            if place == found.chosen:
                axes.plot([x], [y], "o", color="black", markerfacecolor="none", markersize=12, zorder=4)
    axes.set(xlabel=plane.x.title, ylabel=plane.y.title)
    _scale(axes, plane, points)
    axes.grid(alpha=0.3)
    _legend(axes, plane, [label for label in plane.lines(points) if label])


def _legend(axes: Axes, plane: Panel, labels: Sequence[str]) -> None:
    """Write above a plane what its lines follow, and what distinguishes them, so that no point is hidden."""
    about = f"lines along {plane.along}"
    if len(labels) > MOST_LINES:
        about += f"; {len(labels) - MOST_LINES} more are not named"
    if not labels:
        axes.set_title(about, fontsize="x-small")
        return
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3, "frameon": False}
    legend = axes.legend(fontsize="x-small", title=about, title_fontsize="x-small", **place)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is no mathematics


def _where(plane: Panel, point: SweptPoint) -> tuple[float, float] | None:
    x, y = plane.x.of(point), plane.y.of(point)
    return None if x is None or y is None else (x, y)


def _scale(axes: Axes, plane: Panel, points: Sequence[SweptPoint]) -> None:
    """Make axes logarithmic whose positive values differ much; network evaluations always."""
    for name, quantity in (("x", plane.x), ("y", plane.y)):
        values = [value for point in points if (value := quantity.of(point)) is not None]
        if quantity.name == "evaluations" and values:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        elif is_wide(values, WIDE_RANGE):
            axes.set(**{f"{name}scale": "log"})


def _signs(found: Sweep) -> list[Line2D]:
    """Return the marks of the legend below all planes."""

    def sign(label: str, face: str, edge: str = "#555555", size: float = 6) -> Line2D:
        return Line2D(
            [], [], marker="o", linestyle="none", color=edge, markerfacecolor=face, markersize=size, label=label
        )

    signs = [sign("no other is better in both", "#555555"), sign("another is better in both", "white")]
    if found.chosen is not None:
        signs.append(sign(f"chosen: {found.rule}", "none", "black", 11))
    return signs
