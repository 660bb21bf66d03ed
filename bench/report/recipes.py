"""Recorded recipes, completed with the defaults of fields that were added later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.core.errors import UserError
from bench.runs.record import MethodInfo
from bench.runs.registry import load_catalogue


class _Model(NamedTuple):
    """What is read of a recipe's class."""

    defaults: Mapping[str, Any]
    added_later: frozenset[str]


class FilledRecipes:
    """A function that adds the defaults of recipe models to recorded recipes, so that old and new records pool.

    Every new option adds a field to a recipe; the field's default is the behaviour before the option existed.
    """

    def __init__(self) -> None:
        self._methods = load_catalogue().methods
        self._models: dict[tuple[str, str], _Model] = {}

    def __call__(self, method: MethodInfo) -> dict[str, Any]:
        """Return all values of a recorded recipe; a baseline has none.

        Thresholds of alarms that could not end the run are the defaults, since they do not change its result.
        """
        from bench.training.recipe import ALARM_KEYS

        own = self.class_defaults(method)
        told = {} if method.recipe.get("alarms") == "stop" else {key: own[key] for key in ALARM_KEYS & own.keys()}
        return {**own, **method.recipe, **told}

    def identity(self, method: MethodInfo) -> dict[str, Any]:
        """Return the values by which a recipe is named: of fields added later, those that are not their defaults.

        So a recipe keeps its name when fields are added to its class.
        """
        values = self(method)
        if not values:
            return values
        model = self._model(method)
        return {
            name: value
            for name, value in values.items()
            if name not in model.added_later or value != model.defaults.get(name)
        }

    def class_defaults(self, method: MethodInfo) -> Mapping[str, Any]:
        """Return the defaults of the recipe's class; a baseline has none."""
        return self._model(method).defaults if method.distiller else {}

    def _model(self, method: MethodInfo) -> _Model:
        key = method.name, method.distiller
        if key not in self._models:
            self._models[key] = self._model_of(method)
        return self._models[key]

    def _model_of(self, method: MethodInfo) -> _Model:
        """Return what is read of an installed method's recipe class, or of the base class for other methods."""
        from bench.training.recipe import Recipe

        try:
            found = self._methods.get(method.name)
            model = found.recipe_model() if found.distiller == method.distiller else Recipe
        except (UserError, ImportError, AttributeError):  # not installed, or broken: its records are shown anyway
            model = Recipe
        return _Model(defaults(model), model.all_added_later())


def defaults(model: Any) -> dict[str, Any]:
    """Return the defaults of a pydantic model's fields, as JSON has them; required fields have none."""
    from pydantic_core import to_jsonable_python

    fields = model.model_fields.items()
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in fields
        if not field.is_required()
    }
