"""Recorded recipes, completed with the defaults of fields that were added later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bench.core.errors import UserError
from bench.core.files import repeated_digest
from bench.core.run_folder import BEST
from bench.runs.record import MethodInfo, Record
from bench.runs.registry import Entry, Registry, installed
from bench.training.method import Method

START = "init_from"
"""The recipe key of the student from which a run starts."""
DIGITS = 6
"""Digits of a recipe's digest in its name."""
FILE_DIGITS = 12
"""Digits of a plug-in's hash where people read it."""


class _Model(NamedTuple):
    """What is read of a recipe's class."""

    defaults: Mapping[str, Any]
    added_later: frozenset[str]
    paths: frozenset[str]
    """Fields that are paths of files, which may be anywhere."""


class _Start(NamedTuple):
    """A known student from which a run starts."""

    name: str
    sha256: str
    """Digest of its recipe."""
    best: bool
    """Whether it is the best one by validation, and not the last."""

    def __str__(self) -> str:
        return f"{self.name}#{self.sha256[:DIGITS]}{f'/{BEST}' if self.best else ''}"


class FilledRecipes:
    """A function that adds the defaults of recipe models to recorded recipes, so that old and new records pool.

    Every new option adds a field to a recipe; the field's default is the behaviour before the option existed.
    """

    def __init__(self, students: Mapping[str, MethodInfo] = {}) -> None:
        self._students = students
        """The methods of known students, from which others may start (`init_from`), by the names of their runs."""
        self._models: dict[tuple[str, str], _Model] = {}

    @classmethod
    def among(cls, records: Iterable[Record]) -> FilledRecipes:
        """Return the function that knows the students of these records, of whichever task."""
        return cls({record.run_id: record.method for record in records})

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

        So a recipe keeps its name when fields are added to its class. Paths of files are no part of it. A known
        student from which a run starts is named by its recipe, so that the training seeds of both are one recipe.
        """
        kept = self._kept(method)
        start = self._start(kept.get(START))
        return kept if start is None else kept | {START: [start.name, start.sha256, start.best]}

    def _kept(self, method: MethodInfo) -> dict[str, Any]:
        """Return `identity` with the path of the student from which a run starts."""
        values = self(method)
        if not values:
            return values
        model = self._model(method)
        return {
            name: None if name in model.paths and name != START else value
            for name, value in values.items()
            if name not in model.added_later or value != model.defaults.get(name)
        }

    def passed(self, method: MethodInfo) -> Mapping[str, Any]:
        """Return the values that a user gave to a recipe; a known student is named by its recipe."""
        start = self._start(method.passed.get(START))
        return method.passed if start is None else method.passed | {START: str(start)}

    def start(self, method: MethodInfo) -> str:
        """Return what a run starts from: a known student by its recipe, another by its path, or the teacher."""
        path = method.recipe.get(START)
        return str(self._start(path) or path or "the teacher")

    def _start(self, path: object) -> _Start | None:
        """Return the known student in a run's folder, or in its `best` folder."""
        if not isinstance(path, str):
            return None
        folder = PurePosixPath(path)
        best = folder.name == BEST and folder.parent.name in self._students
        student = self._students.get(folder.parent.name if best else folder.name)
        if student is None:
            return None
        # Its own start keeps its path, so that there is an end.
        return _Start(student.name, _digest(student, self._kept(student)), best)

    def class_defaults(self, method: MethodInfo) -> Mapping[str, Any]:
        """Return the defaults of the recipe's class; a baseline has none."""
        return self._model(method).defaults if method.distiller else {}

    def _model(self, method: MethodInfo) -> _Model:
        key = method.name, method.distiller
        if key not in self._models:
            self._models[key] = self._model_of(method)
        return self._models[key]

    def _model_of(self, method: MethodInfo) -> _Model:
        """Return what is read of the recipe's class of an installed distiller, or else of the base class.

        Methods of a user's own file of variants have installed distillers, too.
        """
        from bench.training.recipe import Recipe

        try:
            name = next((entry.name for entry in _methods() if _distiller(entry) == method.distiller), None)
            model = _methods().get(name).recipe_model() if name else Recipe
        except (UserError, ImportError, AttributeError):  # it is broken: its records are shown anyway
            model = Recipe
        return _Model(defaults(model), model.all_added_later(), model.path_keys())


@cache
def _methods() -> Registry[Method]:
    """Return the installed methods, read once."""
    return installed("method")


def _distiller(entry: Entry[Method]) -> str:
    """Return the import path of a method's class; one of a family's file need not be imported for it."""
    return entry.thing.distiller if entry.thing else entry.point.value if entry.point else ""


def recipe_sha256(method: MethodInfo, filled: FilledRecipes) -> str:
    """Return the digest of what identifies a recipe: the class and the resolved values, however they were set."""
    return _digest(method, filled.identity(method))


def _digest(method: MethodInfo, identity: Mapping[str, Any]) -> str:
    return repeated_digest([method.name, method.distiller, method.plugin_sha256, identity])


def named_recipes(methods: Iterable[MethodInfo], filled: FilledRecipes) -> list[str]:
    """Return the recipes as a command line names them, each once: `dmd2#b8b7ac (batch_size=64)`.

    Recipes of several versions of a plug-in file have its hash, too, as they may have the same values.
    """
    found = {recipe_sha256(method, filled)[:DIGITS]: method for method in methods}
    edited = len({one.plugin_sha256 for one in found.values()}) > 1
    return [
        f"{one.name}#{digits} ({shown_values(filled.passed(one))}"
        + (f"; plug-in {one.plugin_sha256[:FILE_DIGITS] or 'none'})" if edited else ")")
        for digits, one in sorted(found.items())
    ]


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
