"""The rule that chooses a point of a sweep: `lowest fd with recall>=0.5 and evaluations<=16`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import UserError, unknown

EVALUATIONS = "evaluations"
"""The quantity of every point besides its metrics: network evaluations for one image."""
Direction = Literal["lower", "higher"]
_BEST: Mapping[str, Direction] = {"lowest": "lower", "highest": "higher"}
_RULE = re.compile(r"(?P<best>\S+)\s+(?P<quantity>\S+)(?:\s+with\s+(?P<conditions>.+))?")
_CONDITION = re.compile(r"(?P<quantity>[^\s<>=]+)\s*(?P<sign>>=|<=)\s*(?P<bound>\S+)")
EXAMPLE = "fix: --choose 'lowest fd', or --choose 'lowest fd with recall>=0.5 and evaluations<=16'"

Quantities = Mapping[str, float | None]
"""A point's metrics, as recorded, and its `evaluations`; None: it has no value."""


@dataclass(frozen=True)
class Condition:
    """What a point must have to be chosen: a quantity of at least, or at most, a bound."""

    quantity: str
    sign: Literal[">=", "<="]
    bound: float

    def holds(self, point: Quantities) -> bool:
        """Whether a point meets it; one without a value does not."""
        value = point[self.quantity]
        if value is None:
            return False
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.quantity}{self.sign}{self.bound:.12g}"


@dataclass(frozen=True)
class Rule:
    """The point with the lowest or highest value among those that meet all conditions.

    Of equal ones, the one with fewer network evaluations is chosen, and then the first.
    """

    better: Direction
    quantity: str
    conditions: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        text = f"{'lowest' if self.better == 'lower' else 'highest'} {self.quantity}"
        if not self.conditions:
            return text
        return f"{text} with {' and '.join(map(str, self.conditions))}"

    @property
    def metrics(self) -> list[str]:
        """The metrics that the rule is about, each once."""
        every = dict.fromkeys([self.quantity, *(one.quantity for one in self.conditions)])
        return [name for name in every if name != EVALUATIONS]

    def choose(self, points: Sequence[Quantities]) -> int | None:
        """Return the position of the chosen point, or None if no point meets the conditions."""
        sign = 1 if self.better == "lower" else -1
        ranked = [
            (sign * value, point[EVALUATIONS] or 0, number)
            for number, point in enumerate(points)
            if (value := point[self.quantity]) is not None and all(one.holds(point) for one in self.conditions)
        ]
        return min(ranked)[2] if ranked else None


def parse_rule(text: str, metrics: Mapping[str, Direction]) -> Rule:
    """Read a rule about these metrics, each with the direction that is better, and about `evaluations`.

    Raises UserError for another form, an unknown quantity, a bound that is no number, and for the worst value.
    """
    known = {**metrics, EVALUATIONS: "lower"}
    found = _RULE.fullmatch(text.strip())
    if found is None or found["best"] not in _BEST:
        raise UserError(f"--choose {text!r} is no rule; {EXAMPLE}")
    quantity, better = found["quantity"], _BEST[found["best"]]
    if quantity not in known:
        raise unknown("quantity in --choose", quantity, known)
    if known[quantity] != better:
        raise UserError(
            f"--choose {text!r} takes the worst point: {quantity} is better when it is {known[quantity]}; "
            f"fix: --choose '{'lowest' if known[quantity] == 'lower' else 'highest'} {quantity}'"
        )
    conditions = re.split(r"\s+and\s+", found["conditions"]) if found["conditions"] else []
    return Rule(better, quantity, tuple(_condition(one, known) for one in conditions))


def _condition(text: str, known: Mapping[str, str]) -> Condition:
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise UserError(f"--choose: {text!r} is no condition such as recall>=0.5; {EXAMPLE}")
    if found["quantity"] not in known:
        raise unknown("quantity in --choose", found["quantity"], known)
    try:
        bound = float(found["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UserError(f"--choose: {found['bound']!r} in {text!r} is no number; {EXAMPLE}")
    return Condition(found["quantity"], ">=" if found["sign"] == ">=" else "<=", bound)
