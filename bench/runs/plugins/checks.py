"""Checks of plug-ins: the errors of their import, and the types of what they register."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.core.errors import UserError, first_line
from bench.core.escape import is_name
from bench.core.stopping import Interrupted, Stopped
from bench.features.base import FeatureExtractor, Weights
from bench.metrics.info import MetricInfo
from bench.task.base import Task
from bench.task.declaration import Baseline
from bench.task.protocol import Protocol

NAMES = "letters, digits and _ . + - inside"
"""The characters of a registered name, which becomes part of paths and commands."""


@contextlib.contextmanager
def importing(tell: Callable[[BaseException], str]) -> Iterator[None]:
    """Import foreign code inside: whatever it raises is a UserError, and what it prints goes to stderr.

    `tell` says who it is and where it failed. SystemExit and KeyboardInterrupt of it end no command silently;
    Ctrl-C and a scheduler's signal still do.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Stopped, Interrupted):
        raise
    except BaseException as error:
        raise UserError(f"{tell(error)}: {type(error).__name__}: {_message(error)}") from error


def _message(error: BaseException) -> str:
    try:
        return first_line(error)
    except Exception:  # its text, too, is foreign code
        return "without a readable message"


def refuse_odd_distiller(distiller: type[Any], origin: str) -> None:
    """Raise UserError if a distiller class's name, recipe model or recipes are of a wrong type."""
    from bench.training.recipe import Recipe

    called = f"{origin}: class {distiller.__name__}"
    name = vars(distiller).get("name") or distiller.__name__.lower()
    _refuse_unless(is_name(name), f"{called} has the name {name!r}", NAMES)
    model, recipes = distiller.recipe_model, distiller.recipes
    is_model = inspect.isclass(model) and issubclass(model, Recipe)
    _refuse_unless(is_model, f"{called} has the recipe_model {model!r}", "a subclass of Recipe")
    by_task = isinstance(recipes, Mapping) and all(
        isinstance(key, str) and isinstance(values, Mapping) and all(isinstance(one, str) for one in values)
        for key, values in recipes.items()
    )
    wanted = 'tables of recipe values by task, by scale or for all ("*")'
    _refuse_unless(by_task, f"{called} has the recipes {recipes!r}", wanted)


def refuse_odd_name(thing: Any, kind: str, origin: str) -> None:
    """Raise UserError if the name or the summary of what is registered is of a wrong type."""
    _refuse_unless(is_name(thing.name), f"{origin}: a {kind} has the name {thing.name!r}", NAMES)
    called = f"{origin}: {kind} {thing.name!r}"
    _refuse_unless(isinstance(thing.summary, str), f"{called} has the summary {thing.summary!r}", "text")


def refuse_odd_metric(info: MetricInfo, called: str) -> None:
    """Raise UserError if what is listed of a metric is of a wrong type."""
    _refuse_unless(isinstance(info.title, str), f"{called} has the title {info.title!r}", "text")
    known = info.direction in ("lower", "higher")
    _refuse_unless(known, f"{called} has the direction {info.direction!r}", "'lower' or 'higher'")
    enough = isinstance(info.min_samples, int)
    _refuse_unless(enough, f"{called} has the min_samples {info.min_samples!r}", "a whole number")
    _refuse_unless(
        is_name(info.extractor), f"{called} has the extractor {info.extractor!r}", "an extractor's name"
    )
    _refuse_unless(bool(info.implementation), f"{called} has no implementation", "a class, 'module:Class'")


def refuse_odd_extractor(extractor: FeatureExtractor, called: str) -> None:
    """Raise UserError if what is listed of a feature extractor is of a wrong type."""
    _refuse_unless(
        isinstance(extractor.preprocessing, str),
        f"{called} has the preprocessing {extractor.preprocessing!r}",
        "text",
    )
    weights = extractor.weights
    fits = isinstance(weights, tuple) and all(isinstance(one, Weights) for one in weights)
    _refuse_unless(fits, f"{called} has the weights {weights!r}", "a tuple of Weights")


def refuse_odd_task(task: Task, called: str) -> None:
    """Raise UserError if what is declared of a task is of a wrong type."""
    _refuse_unless(
        task.scale in ("micro", "paper"), f"{called} has the scale {task.scale!r}", "'micro' or 'paper'"
    )
    shape = task.image_shape
    sizes = isinstance(shape, tuple) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
    _refuse_unless(sizes, f"{called} has the image_shape {shape!r}", "three whole numbers (C, H, W)")
    known = isinstance(task.protocol, Protocol)
    _refuse_unless(known, f"{called} has the protocol {task.protocol!r}", "a Protocol")
    _refuse_unless(is_name(task.protocol.name), f"{called} has the protocol name {task.protocol.name!r}", NAMES)
    for name, baseline in _items(task.baselines, f"{called} has the baselines"):
        fits = isinstance(baseline, Baseline) and baseline.name == name and is_name(name)
        _refuse_unless(fits, f"{called} has the baseline {name!r}", f"a Baseline of the same name: {NAMES}")
    for what, licence in _items(task.licences, f"{called} has the licences"):
        _refuse_unless(isinstance(licence, str), f"{called} has the licence {what!r}: {licence!r}", "text")
    _refuse_unless(isinstance(task.recipes, str), f"{called} has the recipes {task.recipes!r}", "a task's name")


def _items(found: Any, what: str) -> list[tuple[Any, Any]]:
    _refuse_unless(isinstance(found, Mapping), f"{what} {found!r}", "a table")
    return list(found.items())


def _refuse_unless(right: bool, wrong: str, wanted: str) -> None:
    if not right:
        raise UserError(f"{wrong}; fix: give it {wanted}")
