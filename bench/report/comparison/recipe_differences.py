"""The recipe values in which the sides of a comparison differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.runs.recipes import FilledRecipes
from bench.runs.record import MethodInfo

ABSENT = object()
"""The value of a field that a method's recipe does not have."""


@dataclass(frozen=True)
class Value:
    """A recipe value of one side."""

    value: Any
    """As JSON has it; ABSENT if the recipe has no such field."""
    passed: bool
    """Whether the user set it, as an override."""

    @property
    def plain(self) -> Any:
        """The value for JSON: None also for a field that the recipe does not have."""
        return None if self.value is ABSENT else self.value

    def __str__(self) -> str:
        """Return the value as text, with a star if the user set it."""
        if self.value is ABSENT:
            return "–"
        text = self.value if isinstance(self.value, str) else json.dumps(self.value)
        return f"{text} *" if self.passed else text


@dataclass(frozen=True)
class Difference:
    """A recipe field whose values are not all equal."""

    field: str
    values: tuple[Value, ...]
    """One for each side."""


def recipe_differences(methods: Sequence[MethodInfo]) -> list[Difference]:
    """Return the fields in which recipes differ, in the order of the fields.

    Recorded recipes are completed with the defaults of fields that were added later. A recipe without a field that
    another has differs in it, too.
    """
    fill = FilledRecipes()
    recipes = [fill(method) for method in methods]
    fields = dict.fromkeys(name for recipe in recipes for name in recipe)
    found = [
        Difference(
            name,
            tuple(
                Value(recipe.get(name, ABSENT), name in method.passed)
                for method, recipe in zip(methods, recipes, strict=True)
            ),
        )
        for name in fields
    ]
    return [row for row in found if len({_identity(one.value) for one in row.values}) > 1]


def _identity(value: Any) -> str:
    """Return text that is equal for equal values: 1 and 1.0 are one number, and 1 and true are not."""
    if value is ABSENT:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) < 2**53 else repr(value)
    return json.dumps(value, sort_keys=True)
