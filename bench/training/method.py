"""A registered method: its names, and its recipe on each task; imports no torch."""

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

A value `{times = 5, of = "lr"}` is a multiple of another value of the task's recipe, whatever that is.
"""


@dataclass(frozen=True)
class Variant:
    """A method as data: another one with some of its recipe's values changed."""

    name: str
    summary: str
    origin: str
    """The file that describes it."""
    extends: str = ""
    """The method whose values it changes; empty: its family's own."""
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values on every task."""
    on: Layer = field(default_factory=dict)
    """Recipe values by task or by scale; they win over the switches."""
    published: Mapping[str, str] = field(default_factory=dict)
    """By task: what its authors say that it took."""


@dataclass(frozen=True)
class Method:
    """A distiller class under a name, with the recipe that it has on each task."""

    name: str
    summary: str
    distiller: str
    """Import path of the class, `module:Class`."""
    recipe_model: Callable[[], type[Recipe]]
    """Import the model of its recipe: a list needs none, and they take a tenth of its time."""
    layers: Sequence[Layer]
    """Later layers win; in a layer "*" comes first, then the scale, then the task."""
    load: Callable[[], type[Distiller[Any]]]
    published: Mapping[str, str] = field(default_factory=dict)
    """By task: what its authors say that it took."""

    def values(self, task: str, scale: str) -> dict[str, Any]:
        """Return the recipe values on a task that are not the defaults of the recipe's class."""
        found: dict[str, Any] = {}
        for layer in self.layers:
            for key in ("*", scale, task):
                found.update(layer.get(key, {}))
        return found

    def recipe(self, task: str, scale: str, overrides: Mapping[str, Any]) -> Recipe:
        """Resolve the recipe on a task; `overrides` (from --set) win over all. Raises UserError."""
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
                    f"{key} of {who} is a multiple of {of!r} by {times!r}: one of them is no number; "
                    'fix: write it as { times = 5, of = "lr" }'
                )
            # Twelve digits: 5 x 6e-4 is 3e-3, as somebody would write it.
            plain[key] = float(f"{times * number:.12g}")
        return build_recipe(model, plain, who)

    def varied(self, variant: Variant) -> Method:
        """Return the method that a variant makes of this one."""
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
