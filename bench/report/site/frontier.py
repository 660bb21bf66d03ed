"""Quality against cost and against diversity, for each task: what no other student or sampler beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.report.site.boards import Board, Metric, Variant
from bench.report.site.charts import Dot, scatter_chart
from bench.report.site.charts.axis import is_wide
from bench.report.site.pages import Chart, Page, Site
from bench.runs.recipes import DIGITS

DIVERSITY = ("recall", "diversity", "vendi-prompt", "diversity-dino", "vendi", "vendi-dinov2")
"""Metrics of diversity, the first of which a protocol has is drawn."""


@dataclass(frozen=True)
class Cost:
    """A cost of a variant, in the summary's column `name`."""

    name: str
    title: str
    log: bool = True


WIDE_RANGE = 10
"""Positive values whose greatest is this many times the least get a logarithmic axis."""
COSTS = (
    Cost("nfe", "network evaluations for one image"),
    Cost("core_hours", "core-hours of training"),
    Cost("gpu_hours", "GPU-hours of training"),
)


@dataclass(frozen=True)
class Part:
    """The charts of one protocol."""

    board: Board
    charts: Sequence[Chart]
    note: str = ""
    """What is not drawn, and why."""


def pages(site: Site) -> Iterator[Page]:
    """Make one page for each task with records."""
    for task in site.tasks():
        parts = [part_of(board) for board in site.boards(task) if not board.study]
        yield Page(
            f"frontier/{task}.html",
            "frontier.html",
            f"Quality, cost and diversity: {task}",
            {"task": task, "parts": parts},
        )


def part_of(board: Board) -> Part:
    """Return the charts of a board: its first metric against every cost and against diversity."""
    if not board.metrics:
        return Part(board, [], "Nothing was measured.")
    quality = board.metrics[0]
    diversity = next((one for name in DIVERSITY for one in board.metrics if one.name == name), None)
    names = _labels(board)
    charts = [chart for cost in COSTS for chart in _against_cost(board, names, quality, cost)]
    if diversity and diversity is not quality:
        charts.append(_against_diversity(board, names, quality, diversity))
    return Part(board, charts, "" if diversity else "No metric of diversity was measured under this protocol.")


def _against_cost(board: Board, names: dict[int, str], quality: Metric, cost: Cost) -> Iterator[Chart]:
    """Yield the chart of a cost, if two variants or more have it: a sampler has no cost of training."""
    dots = [
        dot
        for variant in board.variants
        if variant.some[cost.name] > 0 and (dot := _dot(variant, names, quality, float(variant.some[cost.name])))
    ]
    if len(dots) > 1:
        title = f"{quality.title} against {cost.title}"
        svg = scatter_chart(
            dots,
            title=title,
            x_label=cost.title,
            y_label=quality.title,
            log_x=cost.log,
            log_y=is_wide([dot.y for dot in dots], WIDE_RANGE),
            better_y=quality.direction,
        )
        yield Chart(
            svg, f"{title}. Students whose recipes differ in nothing but the seed are one point, the mean."
        )


def _against_diversity(board: Board, names: dict[int, str], quality: Metric, diversity: Metric) -> Chart:
    dots = [
        dot
        for variant in board.variants
        if (x := variant.value(diversity.name)) is not None and (dot := _dot(variant, names, quality, x))
    ]
    title = f"{quality.title} against {diversity.title}"
    svg = scatter_chart(
        dots,
        title=title,
        x_label=diversity.title,
        y_label=quality.title,
        log_y=is_wide([dot.y for dot in dots], WIDE_RANGE),
        better_x=diversity.direction,
        better_y=quality.direction,
    )
    return Chart(svg, f"{title}.")


def _dot(variant: Variant, names: dict[int, str], quality: Metric, x: float) -> Dot | None:
    """Return a variant's point, or None if its quality was not measured."""
    one = variant.measured(quality.name)
    if one.value is None:
        return None
    low, high = (one.low, one.high) if one.interval else (None, None)
    return Dot(names[id(variant)], x, one.value, low, high)


def _labels(board: Board) -> dict[int, str]:
    """Return a label for each variant: its method, and its recipe where several variants have the same method."""
    methods = [variant.some["method"] for variant in board.variants]
    return {
        id(variant): str(variant.some["method"])
        if methods.count(variant.some["method"]) == 1
        else f"{variant.some['method']} #{variant.some['recipe_sha256'][:DIGITS]}"
        for variant in board.variants
    }
