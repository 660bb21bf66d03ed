"""The rows of a suite with all that the suite decides for them: the iterations that its budget allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.core.errors import UserError
from bench.runs.registry import Catalogue
from bench.runs.suites import SuiteRow, SuiteScale
from bench.task.base import Task
from bench.training.budget import Budget

PASSES = (
    "A pass is a forward pass of one image through a whole network; a backward pass counts 2, and one of an encoder "
    "alone half."
)


def settled(scale: SuiteScale, catalogue: Catalogue, overrides: Mapping[str, Any] | None = None) -> SuiteScale:
    """Return a scale whose rows set every value that the suite decides; the note says how.

    `overrides` are the user's own values for every row. A row whose method is not installed stays as it is. Raises
    UserError for a budget that a method cannot keep, and for iterations beside a budget.
    """
    if scale.budget is None:
        return scale
    given = dict(overrides or {})
    if "iterations" in given:
        raise UserError(
            f"--set iterations={given['iterations']} contradicts the budget of {scale.budget} of suite {scale.suite}, "
            "which fixes the iterations of every row; fix: leave it out"
        )
    task = catalogue.tasks.get(scale.trained_on or scale.task)
    rows = tuple(_within(scale.budget, row, catalogue, task, given) for row in scale.rows)
    return replace(scale, rows=rows, note=" ".join(filter(None, [scale.note.strip(), _note(scale.budget)])))


def _within(
    budget: Budget, row: SuiteRow, catalogue: Catalogue, task: Task, given: Mapping[str, Any]
) -> SuiteRow:
    """Return a row with the iterations that its budget allows."""
    if row.method not in catalogue.methods.entries:
        return row
    recipe = catalogue.methods.get(row.method).recipe(task.recipes or task.name, task.scale, {**row.overrides, **given})
    return replace(row, overrides={**row.overrides, "iterations": budget.iterations(recipe, row.method)})


def _note(budget: Budget) -> str:
    """Say what each training may take."""
    said = f"Equal budget: each training takes at most {budget}."
    return f"{said} {PASSES}" if budget.unit == "passes" else said
