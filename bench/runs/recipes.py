"""Recorded recipes, completed with the defaults of fields that were added later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.core.errors import UserError
from bench.core.files import repeated_digest
from bench.runs.record import MethodInfo
from bench.runs.registry import load_catalogue

DIGITS = 6
"""Digits of a recipe's digest in its name."""


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
        fixed = {} if method.recipe.get("alarms") == "stop" else {key: own[key] for key in ALARM_KEYS & own.keys()}
        return {**own, **method.recipe, **fixed}

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


def recipe_sha256(method: MethodInfo, filled: FilledRecipes) -> str:
    """Return the digest of what identifies a recipe: the class and the resolved values, however they were set."""
    return repeated_digest([method.name, method.distiller, method.plugin_sha256, filled.identity(method)])


def named_recipes(methods: Iterable[MethodInfo], filled: FilledRecipes) -> list[str]:
    """Return the recipes as a command line names them, each once: `dmd2#b8b7ac (batch_size=64)`."""
    found = {recipe_sha256(method, filled)[:DIGITS]: method for method in methods}
    return [f"{one.name}#{digits} ({shown_values(one.passed)})" for digits, one in sorted(found.items())]


def shown_values(passed: Mapping[str, object]) -> str:
    """Return the values that a user gave to a recipe, for people."""
    return ", ".join(f"{key}={value}" for key, value in passed.items()) or "default"


def defaults(model: Any) -> dict[str, Any]:
    """Return the defaults of a pydantic model's fields, as JSON has them; required fields have none."""
    from pydantic_core import to_jsonable_python

    fields = model.model_fields.items()
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in fields
        if not field.is_required()
    }
