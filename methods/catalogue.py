"""The built-in methods: names, switches and recipes, read from TOML; imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.imports import load_class

if TYPE_CHECKING:
    from bench.training.distiller import Distiller
    from bench.training.recipe import Recipe

Layer = Mapping[str, Mapping[str, Any]]
"""Recipe values by task name, by scale, or for all tasks ("*")."""


@dataclass(frozen=True)
class Method:
    """A registered method: where its distiller is, and what its recipe is on which task."""

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
    relative: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Values that are `times` another one, `of`, of the task's recipe, by key: they win over layers."""

    def passed(self, task: str, scale: str) -> dict[str, Any]:
        """Return the recipe values that differ from the class's defaults by this method's own data."""
        values: dict[str, Any] = {}
        for layer in self.layers:
            for key in ("*", scale, task):
                values.update(layer.get(key, {}))
        return values

    def recipe(self, task: str, scale: str, overrides: Mapping[str, Any]) -> Recipe:
        """Resolve the recipe on a task; `overrides` (from --set) win over all. Raises UserError."""
        from bench.training.recipe import build_recipe

        values = {**self.passed(task, scale), **overrides}
        recipe = build_recipe(self.recipe_model(), values, f"method {self.name!r}")
        relative = {
            # Twelve digits: 5 x 6e-4 is 3e-3, as somebody would write it.
            key: float(f"{rule['times'] * getattr(recipe, rule['of']):.12g}")
            for key, rule in self.relative.items()
            if key not in overrides
        }
        if not relative:
            return recipe
        return build_recipe(self.recipe_model(), values | relative, f"method {self.name!r}")

    @classmethod
    def of(cls, distiller: type[Distiller[Any]], name: str) -> Method:
        """Describe a distiller class that is registered directly, as a plug-in file does."""
        summary = (distiller.__doc__ or "").strip().partition("\n")[0]
        path = f"{distiller.__module__}:{distiller.__qualname__}"
        model = distiller.recipe_model
        return cls(name, summary, path, lambda: model, [distiller.recipes], lambda: distiller)


@lru_cache
def recipe_data() -> dict[str, Any]:
    """All of recipes.toml."""
    text = Path(__file__).with_name("recipes.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _built_in(name: str, family: str, distiller: str, model: str) -> Method:
    data = recipe_data()
    entry = data["methods"][name]
    layers = [data["families"][family], {"*": entry.get("switches", {})}, entry.get("on", {})]
    published = entry.get("published", {})
    return Method(
        name,
        entry["summary"],
        distiller,
        lambda: load_class(model),
        layers,
        lambda: load_class(distiller),
        published,
        entry.get("relative", {}),
    )


def _dmd(name: str) -> Method:
    return _built_in(name, "dmd", "methods.dmd:DMD", "methods.recipes:DMDRecipe")


DMD = _dmd("dmd")
DMD_MSE = _dmd("dmd-mse")
DMD_NO_REGRESSION = _dmd("dmd-no-regression")
DMD_TTUR = _dmd("dmd-ttur")
DMD_TTUR10 = _dmd("dmd-ttur10")
DMD_ASYNC_LR = _dmd("dmd-async-lr")
DMD2 = _dmd("dmd2")
DMD2_EMA = _dmd("dmd2-ema")
GAN = _dmd("gan")
GAN_TTUR = _dmd("gan-ttur")
DMD2_4STEP = _dmd("dmd2-4step")
DMD2_4STEP_LORA = _dmd("dmd2-4step-lora")
DMD2_4STEP_NO_GAN = _dmd("dmd2-4step-no-gan")
DMD2_4STEP_NO_DM = _dmd("dmd2-4step-no-dm")
DMD2_4STEP_NO_BACKWARD_SIMULATION = _dmd("dmd2-4step-no-backward-simulation")
REGRESSION = _built_in(
    "regression", "regression", "methods.regression:RegressionDistiller", "methods.recipes:RegressionRecipe"
)
