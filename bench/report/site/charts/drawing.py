"""What all charts share: colours, text, the frame with its ticks, the legend and the notes below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap

from bench.core.escape import printable
from bench.report.site.charts.axis import Axis, holds, tick_text

WIDTH = 480
PALETTE = ("#2878bd", "#d1570a", "#00916a", "#bf4f96", "#a07400", "#7a6fd0", "#0a8ea0", "#c04444")
"""Colours with a contrast of 3 or more on white and on near black. Lines also differ in their dashes."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_STYLE = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6e8eb}}</style>"
LETTER = 7.0
"""Mean width of a letter, in pixels, to make room for text."""
_SIZE = 12
_ROW = 18


def as_file(chart: str) -> str:
    """Return a chart as the text of an .svg file, whose text follows the reader's light or dark mode."""
    return chart.replace(">", f">{_STYLE}", 1)


def colour(number: int) -> str:
    """Return the colour of a series: the page's own, or one of PALETTE where there is none, as in a file."""
    place = number % len(PALETTE)
    return f"var(--series-{place + 1},{PALETTE[place]})"


def stroke(number: int) -> str:
    """Return the attributes of a series' line; after the first few, lines differ in their dashes too."""
    dashes = _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{colour(number)}" stroke-width="1.6" stroke-linejoin="round"{dashed}'


def line_sign(number: int) -> str:
    """Return the sign of a line for a legend."""
    return f'<path d="M0,0h22" {stroke(number)}/>'


def dot(x: float, y: float, *, full: bool = True) -> str:
    """Return a point, full or open."""
    paint = f'fill="{colour(0)}"' if full else f'fill="none" stroke="{colour(0)}" stroke-width="1.6"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {paint}/>'


def escaped(words: str) -> str:
    """Return foreign text as text of an SVG file."""
    return escape(printable(words))


def text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    """Return a line of text whose `anchor` (start, middle, end) is at a place; `more` has other attributes."""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}{more}>{escaped(words)}</text>'


def frame(xs: Axis, ys: Axis | None, x_label: str, y_label: str, top: float = 0, bottom: float = 0) -> list[str]:
    """Return the grid, ticks and labels of the axes; without `ys`, rows are drawn from `top` to `bottom`."""
    top, bottom = (ys.end, ys.start) if ys else (top, bottom)
    grid, parts = [], []
    for value in xs.ticks(most=6):
        grid.append(f"M{xs(value):.1f},{top:.1f}V{bottom:.1f}")
        parts.append(text(xs(value), bottom + 15, tick_text(value), "middle"))
    for value in ys.ticks(most=5) if ys else []:
        grid.append(f"M{xs.start:.1f},{ys(value):.1f}H{xs.end:.1f}")  # type: ignore[misc]
        parts.append(text(xs.start - 6, ys(value) + 4, tick_text(value), "end"))  # type: ignore[misc]
    lines = f'<path d="{"".join(grid)}" stroke="currentColor" opacity=".15" fill="none"/>'
    labels = [text((xs.start + xs.end) / 2, bottom + 32, x_label, "middle")]
    return [lines, *parts, *labels, *([text(4, 14, y_label, "start")] if y_label else [])]


def left_out(values: Iterable[float | None], log: bool) -> list[str]:
    """Return a note for the values, if any, that an axis cannot show; None is no value and needs no note."""
    found = [value for value in values if value is not None]
    unfit = sum(not holds(value, False) for value in found)
    negative = sum(holds(value, False) and not holds(value, log) for value in found)
    notes = [f"{unfit} left out: not finite"] if unfit else []
    return notes + ([f"{negative} left out: not above zero, on a logarithmic axis"] if negative else [])


Legend = Sequence[tuple[str, str]]
"""The sign of each series, drawn from (0, 0) to (22, 0), and its name."""


def whole(title: str, parts: Iterable[str], height: int, legend: Legend, notes: Sequence[str]) -> str:
    """Return the SVG of a chart: its parts, and below them the legend and the notes."""
    below, y = [], float(height)
    x = 8.0
    for sign, name in legend:
        wide = 34 + LETTER * len(name)
        if x > 8 and x + wide > WIDTH:
            x, y = 8.0, y + _ROW
        below.append(
            f'<g transform="translate({x:.1f} {y + 10:.1f})">{sign}</g>{text(x + 28, y + 14, name, "start")}'
        )
        x += wide + 8
    y += _ROW if legend else 0
    for line in (part for note in notes for part in wrap(note, int(WIDTH / LETTER))):
        below.append(text(8, y + 14, line, "start", ' font-style="italic"'))
        y += _ROW
    size = f'viewBox="0 0 {WIDTH} {y + 4:.0f}" width="{WIDTH}" height="{y + 4:.0f}"'
    font = f'font-family="system-ui,sans-serif" font-size="{_SIZE}" fill="currentColor"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escaped(title)}" {font}>'
    return "".join([head, *parts, *below, "</svg>"])
