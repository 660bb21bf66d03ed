"""The recipe values in which the sides of a comparison differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.runs.recipes import FILE_DIGITS, START, FilledRecipes
from bench.runs.record import MethodInfo

ABSENT = object()
"""The value of a field that a method's recipe does not have."""
PLUGIN = "plug-in"
"""The field of the hash of a method's plug-in file, which is no recipe value and makes another recipe."""


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

    @property
    def text(self) -> str:
        """The value as text."""
        if self.value is ABSENT:
            return "–"
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    def __str__(self) -> str:
        """Return the value as text, with a star if the user set it."""
        return f"{self.text} *" if self.passed and self.value is not ABSENT else self.text


@dataclass(frozen=True)
class Difference:
    """A recipe field whose values are not all equal."""

    field: str
    values: tuple[Value, ...]
    """One for each side."""


def recipe_differences(methods: Sequence[MethodInfo], filled: FilledRecipes) -> list[Difference]:
    """Return the fields in which recipes differ, in the order of the fields, after their plug-ins' hashes.

    Recorded recipes are completed with the defaults of fields that were added later. A recipe without a field that
    another has differs in it, too.
    """
    recipes = [filled(method) for method in methods]
    fields = dict.fromkeys(name for recipe in recipes for name in recipe)
    files = [Value(one.plugin_sha256[:FILE_DIGITS] or ABSENT, passed=False) for one in methods]
    found = [Difference(PLUGIN, tuple(files))]
    found += [
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


def difference_sentences(now: MethodInfo, other: MethodInfo, filled: FilledRecipes) -> list[str]:
    """Say in which values another recipe of a method differs from the one that it has now."""
    found = []
    if now.distiller != other.distiller:
        found.append(f"The class is {other.distiller} and not {now.distiller}")
    if now.plugin_sha256 != other.plugin_sha256:
        files = [sha256[:FILE_DIGITS] or "none" for sha256 in (other.plugin_sha256, now.plugin_sha256)]
        found.append(f"The plug-in is {files[0]} and not {files[1]}")
    ours, theirs = filled.identity(now), filled.identity(other)
    if ours.get(START) != theirs.get(START):
        found.append(f"It starts from {filled.start(other)} and not from {filled.start(now)}")
    for row in recipe_differences([now, other], filled):
        same = ours.get(row.field, ABSENT) == theirs.get(row.field, ABSENT)  # as paths of files are
        if row.field not in (START, PLUGIN) and not same:
            found.append(f"{row.field} is {row.values[1].text} and not {row.values[0].text}")
    return found or ["Its numbers are of other types"]


def _identity(value: Any) -> str:
    """Return text that is equal for equal values: 1 and 1.0 are one number, and 1 and true are not."""
    if value is ABSENT:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) < 2**53 else repr(value)
    return json.dumps(value, sort_keys=True)
