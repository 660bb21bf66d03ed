"""The budget of a training, which fixes the number of its iterations. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.core.errors import UserError, hint
from bench.training.cost import Cost, Passes
from bench.training.recipe import Recipe

Unit = Literal["passes", "images", "generator_updates"]
"""What a budget counts; each is a field of `Spent`."""

PASSES = (
    "A pass is a forward pass of one image through a whole network; a backward pass counts 2, and one of an "
    "encoder alone half. The teacher's passes for pairs, which are made once for all runs, are not counted."
)
"""What the unit `passes` means, for people."""

MOST = 2**40
"""A number of iterations that no budget allows."""


def cost_of(recipe: Recipe) -> Cost:
    """Return a recipe's cost. Raises UserError if its class, which may be a plug-in's, gives none."""
    found: object = recipe.cost()
    if not isinstance(found, Cost) or not all(isinstance(one, Passes) for one in found.passes.values()):
        raise UserError(
            f"cost() of {type(recipe).__name__} returned {found!r}; fix: return a Cost of Passes by network "
            "(bench.training.cost)"
        )
    return found


@dataclass(frozen=True)
class Spent:
    """What a whole training takes by its recipe, known before it runs."""

    iterations: int
    generator_updates: int
    images: int
    """Training images: iterations times the batch."""
    passes: float
    """The work of all networks (bench.training.cost.work), in passes of one image."""

    @classmethod
    def by(cls, recipe: Recipe) -> Spent:
        """Return what a training with this recipe takes."""
        cost, batch = cost_of(recipe), recipe.batch_size
        return cls(recipe.iterations, cost.generator_updates, recipe.iterations * batch, cost.work * batch)


@dataclass(frozen=True)
class Budget:
    """What each training of a comparison may take, in one unit."""

    unit: Unit
    amount: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Budget:
        """Read `{ passes = 600000 }`, or another unit. Raises ValueError for anything but one whole number."""
        units: tuple[Unit, ...] = get_args(Unit)
        if not isinstance(values, Mapping):
            raise ValueError(f"bad budget {values!r}; fix: give it a unit, as in {{ passes = 300_000 }}")
        for unit in values:
            if unit not in units:
                raise ValueError(f"unknown unit {unit!r} of a budget; {hint(unit, units)}")
        if len(values) != 1:
            raise ValueError(f"a budget has one unit, not {len(values)}; fix: give one of {', '.join(units)}")
        (unit,) = (one for one in units if one in values)
        amount = values[unit]
        if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1:
            raise ValueError(f"bad budget of {unit} {amount!r}; fix: give a whole number, 1 or more")
        return cls(unit, amount)

    def __str__(self) -> str:
        return f"{self.amount:,} {self.unit.replace('_', ' ')}"

    def as_dict(self) -> dict[str, int]:
        """Return the budget as `of` reads it."""
        return {self.unit: self.amount}

    def iterations(self, recipe: Recipe, who: str) -> int:
        """Return the largest number of iterations of a recipe within the budget.

        `cost()` must not fall with the number of iterations. Raises UserError, which names `who`, if not even one
        iteration is within the budget.
        """
        if not self._allows(recipe, 1):
            least = getattr(_spent(recipe, 1), self.unit)
            raise UserError(
                f"one iteration of {who} takes {least:,.10g} {self.unit.replace('_', ' ')}, more than the budget "
                f"of {self}; fix: give it a larger budget, or a smaller batch: --set batch_size=8"
            )
        low, high = 1, 2
        while self._allows(recipe, high):
            low, high = high, 2 * high
            if high > MOST:
                rises = getattr(_spent(recipe, high), self.unit) > getattr(_spent(recipe, 1), self.unit)
                why = (
                    "it has room for 2^40 iterations; fix: give a smaller one"
                    if rises
                    else "its cost() does not rise with iterations; fix: let it count what an iteration takes"
                )
                raise UserError(f"a budget of {self} sets no end to {who}: {why}")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._allows(recipe, middle) else (low, middle)
        return low

    def _allows(self, recipe: Recipe, iterations: int) -> bool:
        return bool(getattr(_spent(recipe, iterations), self.unit) <= self.amount)


def _spent(recipe: Recipe, iterations: int) -> Spent:
    return Spent.by(recipe.model_copy(update={"iterations": iterations}))
