"""The table of a sweep: every point with its metrics, which of them no other beats, and the chosen one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from bench.report.cells import number
from bench.report.measured import decimals_apart
from bench.report.sweeps.frontier import Quantity, panels, quantities_of
from bench.runs.sweeps.choice import EVALUATIONS, parse_rule
from bench.runs.sweeps.record import Sweep

CHOSEN = "chosen"


def to_lines(found: Sweep) -> Iterator[str]:
    """Yield the table as Markdown, aligned so that it can be read as text."""
    columns, rows = _cells(found)
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    for place, row in enumerate([columns, *rows]):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        if place == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def to_csv(found: Sweep) -> str:
    """Return the table for programs: plain values in full precision, and the run of each point."""
    text = io.StringIO()
    metrics = [one.name for one in found.metrics]
    frontiers = _frontiers(found)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *found.grid, EVALUATIONS, *metrics, *frontiers, CHOSEN, "run_id", "record"])
    for place, point in enumerate(found.points):
        values = [point.values.get(axis) for axis in found.grid]
        best = [int(place in optimal) for optimal in frontiers.values()]
        results = [point.metrics[name] for name in metrics]
        is_chosen = int(place == found.chosen)
        row = [point.name, *values, point.evaluations, *results, *best, is_chosen, point.run_id, point.record]
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def _cells(found: Sweep) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table for people."""
    quantities = quantities_of(found)
    frontiers = _frontiers(found)
    columns = ["", *found.grid, "NFE", *(one.title for one in quantities), "Pareto-optimal in"]
    more = {one.name: _more_decimals(found, one) for one in quantities}
    rows = []
    for place, point in enumerate(found.points):
        optimal = [name.removeprefix("pareto: ") for name, best in frontiers.items() if place in best]
        rows.append(
            [
                CHOSEN if place == found.chosen else "",
                *(_shown(point.values.get(axis)) for axis in found.grid),
                "–" if point.evaluations is None else str(point.evaluations),
                *(number(one.of(point), more[one.name]) for one in quantities),
                "; ".join(optimal),
            ]
        )
    return columns, rows


def _more_decimals(found: Sweep, quantity: Quantity) -> int:
    """Return how many more decimals show that the chosen point is the best in what the rule ranks points by."""
    if found.chosen is None or quantity.name != parse_rule(found.rule, found.directions).quantity:
        return 0
    return decimals_apart([quantity.of(point) for point in found.points], [found.chosen])


def _frontiers(found: Sweep) -> dict[str, Sequence[int]]:
    """Return the positions of the points that no other beats, by the names of the two quantities."""
    return {f"pareto: {one.y.name}, {one.x.name}": one.optimal(found.points) for one in panels(found)}


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
