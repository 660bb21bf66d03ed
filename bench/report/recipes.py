"""Recorded recipes, completed with the defaults of fields that were added later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.errors import UserError
from bench.runs.records import MethodInfo
from bench.runs.registry import load_catalogue


class FilledRecipes:
    """A function that adds the defaults of recipe models to recorded recipes, so that old and new records pool.

    Every new option adds a field to a recipe; the field's default is the behaviour before the option existed.
    """

    def __init__(self) -> None:
        self._methods = load_catalogue().methods
        self._defaults: dict[tuple[str, str], Mapping[str, Any]] = {}

    def __call__(self, method: MethodInfo) -> dict[str, Any]:
        """Return all values of a recorded recipe; a baseline has none.

        Thresholds of alarms that could not end the run are the defaults, since they do not change its result.
        """
        from bench.training.recipe import ALARM_KEYS

        own = self.class_defaults(method)
        told = {} if method.recipe.get("alarms") == "stop" else {key: own[key] for key in ALARM_KEYS & own.keys()}
        return {**own, **method.recipe, **told}

    def class_defaults(self, method: MethodInfo) -> Mapping[str, Any]:
        """Return the defaults of the recipe's class; a baseline has none."""
        if not method.distiller:
            return {}
        key = method.name, method.distiller
        if key not in self._defaults:
            self._defaults[key] = self._defaults_of(method)
        return self._defaults[key]

    def _defaults_of(self, method: MethodInfo) -> dict[str, Any]:
        """Return the defaults of an installed method's recipe, or of the base recipe for other methods."""
        from bench.training.recipe import Recipe

        try:
            found = self._methods.get(method.name)
            model = found.recipe_model() if found.distiller == method.distiller else Recipe
        except (UserError, ImportError, AttributeError):  # not installed, or broken: its records are shown anyway
            model = Recipe
        return defaults(model)


def defaults(model: Any) -> dict[str, Any]:
    """Return the defaults of a pydantic model's fields, as JSON has them; required fields have none."""
    from pydantic_core import to_jsonable_python

    fields = model.model_fields.items()
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in fields
        if not field.is_required()
    }
