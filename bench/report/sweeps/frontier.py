"""The frontiers of a sweep: quality against network evaluations, and against diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics.titles import TIMES
from bench.report.cells import header
from bench.report.site.charts.scatter import Dot, pareto
from bench.report.site.frontier import DIVERSITY
from bench.runs.sweeps.choice import EVALUATIONS, parse_rule
from bench.runs.sweeps.record import Sweep, SweptPoint

FIDELITY = ("precision", "alignment", "clip", "geneval", "dpg", "accuracy")
"""Metrics of how good single images are, the first of which a sweep has is drawn against diversity too."""
ALONG_COST = ("steps", "solver", "guidance", "churn", "checkpoint", "sampler")
"""Axes of a grid in the order in which a line of quality against cost prefers to follow them."""
ALONG_DIVERSITY = ("guidance", "churn", "steps", "solver", "checkpoint", "sampler")
"""The same for a line of quality against diversity."""


@dataclass(frozen=True)
class Quantity:
    """A metric of a sweep, or its network evaluations."""

    name: str
    title: str
    """Heading with the arrow that says which values are better."""
    direction: str

    def of(self, point: SweptPoint) -> float | None:
        """Return its value at a point on the scale that tables show: KID times 1,000."""
        value = point.quantities[self.name]
        return None if value is None else TIMES.get(self.name, 1) * value


@dataclass(frozen=True)
class Panel:
    """A plane of two quantities in which some points beat others."""

    x: Quantity
    y: Quantity
    along: str
    """The axis of the grid that a line follows; there is a line for each combination of the others."""

    def optimal(self, points: Sequence[SweptPoint]) -> list[int]:
        """Return the positions of the points that no other matches in both quantities and beats in one, by x."""
        dots = {
            number: Dot(point.name, x, y)
            for number, point in enumerate(points)
            if (x := self.x.of(point)) is not None and (y := self.y.of(point)) is not None
        }
        numbers = list(dots)
        return [numbers[one] for one in pareto(list(dots.values()), self.x.direction, self.y.direction)]

    def lines(self, points: Sequence[SweptPoint]) -> dict[str, list[int]]:
        """Return the positions of the points of each line, by the values that its points share."""
        found: dict[str, list[int]] = {}
        for number, point in enumerate(points):
            others = {axis: value for axis, value in point.values.items() if axis != self.along}
            found.setdefault(", ".join(_named(axis, value) for axis, value in others.items()), []).append(number)
        return found


def _named(axis: str, value: object) -> str:
    """Return a value with its axis, where the value is a number."""
    return f"{axis} {value:g}" if isinstance(value, int | float) else str(value)


def quantities_of(found: Sweep) -> list[Quantity]:
    """Return the metrics of a sweep with their headings."""
    return [
        Quantity(one.name, header(_scaled(one.name, one.title), one.direction), one.direction)
        for one in found.metrics
    ]


def panels(found: Sweep) -> list[Panel]:
    """Return the planes of a sweep: quality and cost, then those of quality and diversity, if it has diversity.

    Quality is what the rule takes the best of, or else the first metric that is not of diversity.
    """
    named = {one.name: one for one in quantities_of(found)}
    ruled = parse_rule(found.rule, found.directions).quantity
    quality = next((named[name] for name in (ruled, *named) if name in named and name not in DIVERSITY), None)
    if quality is None:
        quality = named[found.metrics[0].name]
    cost = Quantity(EVALUATIONS, "network evaluations for one image", "lower")
    planes = [Panel(cost, quality, _along(found, ALONG_COST))]
    diversity = next((named[name] for name in DIVERSITY if name in named and name != quality.name), None)
    if diversity is not None:
        fidelity = next((named[name] for name in FIDELITY if name in named and name != quality.name), None)
        along = _along(found, ALONG_DIVERSITY)
        planes += [Panel(diversity, one, along) for one in (quality, fidelity) if one is not None]
    return planes


def _scaled(name: str, title: str) -> str:
    return f"{title} × {TIMES[name]:,}" if name in TIMES else title


def _along(found: Sweep, preferred: Sequence[str]) -> str:
    """Return the first of these axes that has several values."""
    several = [axis for axis in preferred if len(found.grid.get(axis, ())) > 1]
    return several[0] if several else next(iter(found.grid))
