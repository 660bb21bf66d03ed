"""How often a training writes a checkpoint and measures FD, which does not change its last student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.training.recipe import Recipe

CHECKPOINTS, VALIDATIONS = 20, 10
"""The numbers of checkpoints and of validations in a training, where nobody says how many validations."""


@dataclass(frozen=True)
class Cadence:
    """The numbers of iterations between checkpoints and between validations."""

    checkpoint_every: int
    validate_every: int
    """Iterations between two measurements of FD (the paper's Fig. 9); 0: there is none."""

    @classmethod
    def of(cls, recipe: Recipe, validations: int = VALIDATIONS) -> Cadence:
        """Return the cadence of a recipe's training; one that keeps the best student says itself how often."""
        if recipe.keep_best:
            validate_every = recipe.best_every or max(1, recipe.iterations // VALIDATIONS)
        else:
            validate_every = max(1, recipe.iterations // validations) if validations else 0
        return cls(max(1, recipe.iterations // CHECKPOINTS), validate_every)
