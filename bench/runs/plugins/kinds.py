"""The kinds of things that a plug-in may register: one row each. Imports no torch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.core.errors import UserError
from bench.core.imports import load_class
from bench.runs.plugins.checks import (
    importing,
    refuse_odd_distiller,
    refuse_odd_extractor,
    refuse_odd_metric,
    refuse_odd_name,
    refuse_odd_task,
)
from bench.runs.plugins.members import refuse_odd_fields, refuse_odd_methods


def _as_is(thing: type[Any], name: str, origin: str) -> Any:  # noqa: ARG001 (the signature of all conversions)
    return thing


def _no_more(thing: Any, called: str) -> None:
    """Check nothing more than the name and the summary."""


@dataclass(frozen=True)
class Kind:
    """One kind of registered things. Its entry points are in the group `bench.KINDs`."""

    name: str
    wanted: str
    """The form in which a plug-in file defines one, for messages."""
    instances: str = ""
    """Type of the objects that are registered as they are, `module:Class`; empty: there are none."""
    classes: str = ""
    """Base of the classes that are registered, `module:Class`; empty: there are none."""
    convert: Callable[[type[Any], str, str], Any] = _as_is
    """Convert a class, its registered name ('': its own) and its origin to the registered thing, or to None."""
    check: Callable[[Any, str], None] = _no_more
    """Raise UserError if values of the registered thing do not go together. The text names it in messages."""
    constructed: bool = False
    """True if the framework calls the class with the arguments of its base."""
    imports_torch: bool = False
    """True if loading one imports torch, which `bench list` avoids."""

    def taken(self, thing: Any, name: str, origin: str) -> Any | None:
        """Return a checked thing of this kind, or None if it is of another kind. Raises UserError."""
        base = self.classes if inspect.isclass(thing) else self.instances
        if not _is(thing, base, issubclass if inspect.isclass(thing) else isinstance):
            return None
        if inspect.isclass(thing):
            called = f"{origin}: class {thing.__name__}"
            if inspect.isabstract(thing):
                missing = ", ".join(sorted(getattr(thing, "__abstractmethods__", ())))
                raise UserError(f"{called} does not define {missing}; fix: define it")
            refuse_odd_methods(thing, load_class(base), called, self.constructed)
            thing = self.convert(thing, name, origin)
        else:
            refuse_odd_methods(type(thing), load_class(base), f"{origin}: class {type(thing).__name__}", False)
        if thing is not None:
            refuse_odd_name(thing, self.name, origin)
            called = f"{origin}: {self.name} {thing.name!r}"
            if self.instances:  # they are dataclasses, and a class of a metric became one
                refuse_odd_fields(thing, called)
            self.check(thing, called)
        return thing


def _is(thing: Any, path: str, test: Callable[[Any, Any], bool]) -> bool:
    """Return whether a thing is of a type. If the type's module is not imported yet, it cannot be."""
    module, _, name = path.partition(":")
    return module in sys.modules and test(thing, getattr(sys.modules[module], name))


def _method(distiller: type[Any], name: str, origin: str) -> Any:
    refuse_odd_distiller(distiller, origin)
    own = name or vars(distiller).get("name") or distiller.__name__.lower()
    return load_class("bench.training.method:Method").of(distiller, own)


def _metric(metric: type[Any], name: str, origin: str) -> Any | None:  # noqa: ARG001 (as above)
    """Complete the `info` of a metric class. A class without one is used by the infos that name it."""
    info = vars(metric).get("info")
    if info is None:
        return None
    if not _is(info, "bench.metrics.info:MetricInfo", isinstance):
        raise UserError(f"{origin}: class {metric.__name__} has the info {info!r}; fix: give it a MetricInfo")
    return replace(info, implementation=f"{metric.__module__}:{metric.__qualname__}")


def _named_class(thing: type[Any], name: str, origin: str) -> Any | None:  # noqa: ARG001 (as above)
    """Keep a class that has a name of its own; one without serves others as a base."""
    return thing if "name" in vars(thing) else None


def _made(thing: type[Any], name: str, origin: str) -> Any | None:  # noqa: ARG001 (as above)
    """Keep an object of a class that has a name of its own. Raises UserError if it cannot be made."""
    if "name" not in vars(thing):
        return None
    with importing(lambda _: f"{origin}: class {thing.__name__} cannot be made"):
        return thing()


ROWS = (
    Kind(
        "method",
        "a Distiller class",
        classes="bench.training.distiller:Distiller",
        convert=_method,
        constructed=True,
    ),
    Kind("task", "a Task", instances="bench.task.base:Task", check=refuse_odd_task),
    Kind(
        "metric",
        "a Metric class with its info",
        instances="bench.metrics.info:MetricInfo",
        classes="bench.metrics.base:Metric",
        convert=_metric,
        constructed=True,
        check=refuse_odd_metric,
    ),
    Kind(
        "extractor",
        "a FeatureExtractor",
        instances="bench.features.base:FeatureExtractor",
        check=refuse_odd_extractor,
    ),
    Kind("dataset", "a Dataset", instances="bench.data.base:Dataset"),
    Kind(
        "backbone",
        "a BackboneFamily class with a name",
        classes="bench.models.backbones.base:BackboneFamily",
        convert=_named_class,
        imports_torch=True,
    ),
    Kind(
        "executor", "an Executor class with a name", classes="bench.jobs.executor:Executor", convert=_named_class
    ),
    Kind("renderer", "a Renderer class with a name", classes="bench.report.renderer:Renderer", convert=_made),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in ROWS}
