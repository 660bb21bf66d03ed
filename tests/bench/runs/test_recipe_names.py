"""The digest that names a recipe: what changes nothing in a training changes no name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.runs.recipes import FilledRecipes, recipe_sha256
from bench.runs.record import MethodInfo
from bench.training.recipe import Recipe
from methods.recipes import DMDRecipe


def info(name: str = "dmd2", distiller: str = "methods.dmd:DMD", **values: Any) -> MethodInfo:
    """Return a method with values of its recipe, as a record has it."""
    recipe = DMDRecipe(**values).model_dump(mode="json")
    return MethodInfo(name=name, origin="", distiller=distiller, passed=values, recipe=recipe)


def named(method: MethodInfo, **students: MethodInfo) -> str:
    """Return a recipe's digest, where these students are known."""
    return recipe_sha256(method, FilledRecipes({name.replace("_", "-"): one for name, one in students.items()}))


def test_a_users_variant_keeps_its_name_when_the_class_that_it_varies_gains_a_field() -> None:
    """Its file is no installed method, and its class is one."""
    of_dmd = DMDRecipe.all_added_later() - Recipe.all_added_later()
    assert of_dmd
    new = info("my-dmd2", lr=1e-5)
    old = {key: value for key, value in new.recipe.items() if key not in DMDRecipe.all_added_later()}
    assert named(new.model_copy(update={"recipe": old})) == named(new)
    assert named(info("my-dmd2", lr=2e-5)) != named(new)


def test_a_file_may_lie_anywhere() -> None:
    first, second, without = (info(lpips_weights=path) for path in (Path("/a/vgg.pth"), Path("/b/vgg.pth"), None))
    assert named(first) == named(second) == named(without)


def test_a_student_from_which_a_run_starts_is_named_by_its_recipe() -> None:
    """Each training seed starts from one of its own; of an unknown one, the path is all that is known."""
    one, other, best = (
        info(init_from=Path(f"runs/digits/{name}")) for name in ("dmd-s0", "dmd-s1", "dmd-s1/best")
    )
    students = {"dmd_s0": info("dmd"), "dmd_s1": info("dmd")}
    assert named(one, **students) == named(other, **students) != named(best, **students)
    assert named(one, **students) != named(info(), **students)
    assert named(other, **students | {"dmd_s1": info("dmd", lr=1e-5)}) != named(one, **students)
    assert named(one) != named(other)


def test_a_run_that_starts_from_itself_has_a_name() -> None:
    """No plan says so, and the record of a stranger may."""
    itself = info(init_from=Path("runs/digits/dmd-s0"))
    assert named(itself, dmd_s0=itself)
