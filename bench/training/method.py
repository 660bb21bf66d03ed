"""A registered method: its name, its distiller and its recipe on each task. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.core.errors import UserError
from bench.core.numbers import is_finite

if TYPE_CHECKING:
    from bench.training.distiller import Distiller
    from bench.training.recipe import Recipe

Layer = Mapping[str, Mapping[str, Any]]
"""Recipe values by task name, by scale, or for all tasks ("*").

A value `{times = 5, of = "lr"}` is a multiple of another value of the recipe on the same task.
"""


@dataclass(frozen=True)
class Variant:
    """A method as data: another method with some values of its recipe changed."""

    name: str
    summary: str
    origin: str
    """The file that describes the variant."""
    extends: str = ""
    """The method whose values the variant changes; empty for the family's common values."""
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values for all tasks."""
    on: Layer = field(default_factory=dict)
    """Recipe values by task or by scale; they win over the switches."""
    published: Mapping[str, str] = field(default_factory=dict)
    """The published cost and result, by task."""


@dataclass(frozen=True)
class Method:
    """A named distiller class with its recipe on each task."""

    name: str
    summary: str
    distiller: str
    """Import path of the class, `module:Class`."""
    recipe_model: Callable[[], type[Recipe]]
    """Import and return the class of the recipe. A list of methods does not call this, which saves time."""
    layers: Sequence[Layer]
    """Recipe values. Later layers override earlier ones; within a layer the order is "*", scale, task."""
    load: Callable[[], type[Distiller[Any]]]
    published: Mapping[str, str] = field(default_factory=dict)
    """The published cost and result, by task."""

    def values(self, task: str, scale: str) -> dict[str, Any]:
        """Return the recipe values that the layers give for a task."""
        found: dict[str, Any] = {}
        for layer in self.layers:
            for key in ("*", scale, task):
                found.update(layer.get(key, {}))
        return found

    def recipe(self, task: str, scale: str, overrides: Mapping[str, Any]) -> Recipe:
        """Resolve the recipe on a task. `overrides` (from --set) override all layers. Raises UserError."""
        from bench.training.recipe import build_recipe

        values = self.values(task, scale) | dict(overrides)
        multiples = {key: value for key, value in values.items() if _is_multiple(value) and key not in overrides}
        model, who = self.recipe_model(), f"method {self.name!r}"
        plain = {key: value for key, value in values.items() if key not in multiples}
        recipe = build_recipe(model, plain, who)
        if not multiples:
            return recipe
        for key, value in multiples.items():
            times, of = value["times"], value["of"]
            number = getattr(recipe, of, None) if isinstance(of, str) and of not in multiples else None
            if not (is_finite(times) and is_finite(number)):
                raise UserError(
                    f"{key} of {who} is {times!r} times {of!r}: one of the two is not a number; "
                    'fix: write it as { times = 5, of = "lr" }'
                )
            # Rounding to twelve digits makes 5 x 6e-4 exactly 3e-3.
            plain[key] = float(f"{times * number:.12g}")
        return build_recipe(model, plain, who)

    def varied(self, variant: Variant) -> Method:
        """Return this method with the values of a variant."""
        layers = [*self.layers, {"*": variant.switches}, variant.on]
        return replace(
            self, name=variant.name, summary=variant.summary, layers=layers, published=variant.published
        )

    @classmethod
    def of(cls, distiller: type[Distiller[Any]], name: str) -> Method:
        """Describe a distiller class that is registered directly, as a plug-in file does."""
        summary = (distiller.__doc__ or "").strip().partition("\n")[0]
        path = f"{distiller.__module__}:{distiller.__qualname__}"
        model = distiller.recipe_model
        return cls(name, summary, path, lambda: model, [distiller.recipes], lambda: distiller)


def _is_multiple(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"times", "of"}
