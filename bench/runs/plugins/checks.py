"""Checks of plug-ins: the errors of their import, and the types of what they register."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.core.errors import UserError, first_line
from bench.core.escape import is_name
from bench.core.stopping import Interrupted, Stopped
from bench.features.base import FeatureExtractor
from bench.metrics.info import MetricInfo
from bench.task.base import Task
from bench.task.protocol import MAIN

NAMES = "letters, digits and _ . + - inside"
"""The characters of a registered name, which becomes part of paths and commands."""


@contextlib.contextmanager
def importing(tell: Callable[[BaseException], str], fix: str = "") -> Iterator[None]:
    """Import foreign code inside: whatever it raises is a UserError, and what it prints goes to stderr.

    `tell` says who it is and where it failed; `fix` is for what is no file of the user's own.
    SystemExit and KeyboardInterrupt of it end no command silently; Ctrl-C and a scheduler's signal still do.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Stopped, Interrupted):
        raise
    except BaseException as error:
        what = f"{tell(error)}: {type(error).__name__}: {_message(error)}"
        raise UserError(f"{what}; fix: {fix}" if fix else what) from error


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
    """Raise UserError if the name or the summary of what is registered is of a wrong type, or is not there."""
    name, summary = (getattr(thing, field, None) for field in ("name", "summary"))
    _refuse_unless(is_name(name), f"{origin}: a {kind} has the name {name!r}", NAMES)
    _refuse_unless(isinstance(summary, str), f"{origin}: {kind} {name!r} has the summary {summary!r}", "text")


def refuse_odd_metric(info: MetricInfo, called: str) -> None:
    """Raise UserError if a metric cannot be measured as it is listed."""
    _refuse_unless(
        is_name(info.extractor), f"{called} has the extractor {info.extractor!r}", "an extractor's name"
    )
    named = re.fullmatch(r"[\w.@]+:[\w.]+", info.implementation) is not None
    _refuse_unless(named, f"{called} has the implementation {info.implementation!r}", "a class, 'module:Class'")
    _refuse_unless(info.min_samples > 0, f"{called} has the min_samples {info.min_samples!r}", "1 or more")


def refuse_odd_extractor(extractor: FeatureExtractor, called: str) -> None:
    """Raise UserError if metrics could not tell a feature extractor from that of each protocol."""
    _refuse_unless(extractor.name != MAIN, f"{called} has the name of every protocol's own", "another one")


def refuse_odd_task(task: Task, called: str) -> None:
    """Raise UserError if the values of a task's declaration do not go together."""
    shape, protocol = task.image_shape, task.protocol
    sizes = all(size > 0 for size in shape) and shape[0] in (1, 3)
    wanted = "three whole numbers (C, H, W), C 3 for colour or 1 for grey"
    _refuse_unless(sizes, f"{called} has the image_shape {shape!r}", wanted)
    _refuse_unless(is_name(protocol.name), f"{called} has the protocol name {protocol.name!r}", NAMES)
    for what in ("samples", "repetitions", "images_per_prompt", "neighbours"):
        count = getattr(protocol, what)
        _refuse_unless(count > 0, f"{called}: its protocol has the {what} {count!r}", "1 or more")
    for name, baseline in task.baselines.items():
        fits = baseline.name == name and is_name(name)
        _refuse_unless(fits, f"{called} has the baseline {name!r}", f"a Baseline of the same name: {NAMES}")


def _refuse_unless(right: bool, wrong: str, wanted: str) -> None:
    if not right:
        raise UserError(f"{wrong}; fix: give it {wanted}")
