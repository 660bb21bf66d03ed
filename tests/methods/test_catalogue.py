"""The built-in methods are the rows of the paper's tables, as data; listing them imports no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest

from bench.core.errors import UserError
from bench.runs.registry import load_catalogue
from bench.training.distiller import Distiller
from bench.training.method import Method
from bench.training.recipe import Recipe
from methods.dmd import DMD
from methods.recipes import DMDRecipe

CATALOGUE = load_catalogue()
METHODS = sorted(CATALOGUE.methods.entries)
MICRO_TASKS = sorted(entry.name for entry in CATALOGUE.tasks if entry.load().scale == "micro")

PAPER = [("imagenet64", "paper"), ("coco10k", "paper"), ("coco30k", "paper")]

#                          DM     regression  GAN    critic updates per generator update
TABLE_3 = {
    "dmd": (True, True, False, 1),
    "dmd-no-regression": (True, False, False, 1),
    "dmd-ttur": (True, False, False, 5),
    "dmd2": (True, False, True, 5),
    "gan": (False, False, True, 1),
    "gan-ttur": (False, False, True, 5),
}


def recipe_of(name: str, task: str = "", scale: str = "paper") -> DMDRecipe:
    recipe = CATALOGUE.methods.get(name).recipe(task, scale, {})
    assert isinstance(recipe, DMDRecipe)
    return recipe


@pytest.mark.parametrize("scale", ["paper", "micro"])
@pytest.mark.parametrize("name", TABLE_3)
def test_switches_are_those_of_the_papers_table_3(name: str, scale: str) -> None:
    recipe = recipe_of(name, scale=scale)
    ratio = recipe.critic_updates_per_generator_update
    assert (recipe.distribution_matching, recipe.regression, recipe.gan, ratio) == TABLE_3[name]
    assert recipe.student_steps == 1


@pytest.mark.parametrize("name", ["gan", "gan-ttur"])
def test_a_critic_that_only_discriminates_does_not_denoise(name: str) -> None:
    assert not recipe_of(name).critic_denoising
    assert recipe_of("dmd2").critic_denoising


def test_dmd2_s_recipes_have_no_average_of_weights_and_the_one_that_has_says_so() -> None:
    averaged = {
        name
        for name in METHODS
        if CATALOGUE.methods.get(name).load() is DMD and recipe_of(name, "imagenet64").ema_decay
    }
    assert averaged == {"dmd2-ema"}
    with_average, plain = (recipe_of(name, "imagenet64").model_dump() for name in ("dmd2-ema", "dmd2"))
    assert with_average | {"ema_decay": None} == plain


@pytest.mark.parametrize("scale", ["paper", "micro"])
def test_update_rules_of_figure_9(scale: str) -> None:
    """There are ten critic updates, or one with five times the generator's learning rate."""
    assert recipe_of("dmd-ttur10", scale=scale).critic_updates_per_generator_update == 10
    asynchronous = recipe_of("dmd-async-lr", scale=scale)
    assert asynchronous.critic_updates_per_generator_update == 1
    assert asynchronous.critic_lr == pytest.approx(5 * asynchronous.lr)
    assert not asynchronous.gan and not asynchronous.regression


def test_four_step_students_differ_only_in_their_inputs() -> None:
    with_it = recipe_of("dmd2-4step").model_dump()
    without = recipe_of("dmd2-4step-no-backward-simulation").model_dump()
    assert with_it["student_steps"] == without["student_steps"] == 4
    assert with_it.pop("input_simulation") == "backward"
    assert without.pop("input_simulation") == "noised-real"
    assert with_it == without


@pytest.mark.parametrize("scale", ["paper", "micro"])
@pytest.mark.parametrize(
    ("name", "off"),
    [("dmd2-4step-no-gan", "gan"), ("dmd2-4step-no-dm", "distribution_matching")],
)
def test_the_other_rows_of_table_4_are_the_four_step_student_without_a_term(
    name: str, off: str, scale: str
) -> None:
    whole, without = recipe_of("dmd2-4step", scale=scale), recipe_of(name, scale=scale)
    terms = {"gan": True, "distribution_matching": True, "regression": False}
    assert {term: getattr(whole, term) for term in terms} == terms
    assert {term: getattr(without, term) for term in terms} == {**terms, off: False}
    assert without.student_steps == 4 and without.input_simulation == "backward"


def test_dmd2_at_paper_scale_is_the_classs_defaults_but_for_precision_and_the_official_schedules() -> None:
    assert CATALOGUE.methods.get("dmd2").values("imagenet64", "paper") == {
        "precision": "bf16",
        "warmup": 71,
        "warmup_from_zero": True,
        "best_every": 500,
        "best_samples": 50_000,
    }
    assert recipe_of("dmd2") == DMDRecipe(warmup_from_zero=True)


@pytest.mark.parametrize(("task", "scale"), [*((task, "micro") for task in MICRO_TASKS), *PAPER])
def test_the_critic_of_figure_9_learns_five_times_as_fast_as_the_generator_on_every_task(
    task: str, scale: str
) -> None:
    recipe = recipe_of("dmd-async-lr", task, scale)
    assert recipe.critic_lr == pytest.approx(5 * recipe.lr, rel=1e-12)
    assert recipe.lr == recipe_of("dmd-no-regression", task, scale).lr
    assert recipe.model_dump(exclude={"critic_lr"}) == recipe_of("dmd-no-regression", task, scale).model_dump(
        exclude={"critic_lr"}
    )


def test_a_relative_rate_follows_what_the_user_sets_and_yields_to_it() -> None:
    method = CATALOGUE.methods.get("dmd-async-lr")
    followed, set_apart = (
        method.recipe("coco10k", "paper", values) for values in ({"lr": "1e-4"}, {"critic_lr": "1e-4"})
    )
    assert isinstance(followed, DMDRecipe) and isinstance(set_apart, DMDRecipe)
    assert (followed.lr, followed.critic_lr) == (1e-4, 5e-4)
    assert (set_apart.lr, set_apart.critic_lr) == (5e-7, 1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_rates_are_those_of_the_task_unless_a_method_says_how_they_relate(name: str) -> None:
    """A switch must not set an absolute rate, since rates differ between tasks."""
    for layer in CATALOGUE.methods.get(name).layers[1:]:
        for key in {"lr", "critic_lr"} & layer.get("*", {}).keys():
            assert layer["*"][key].keys() == {"times", "of"}


def test_the_official_run_without_gan_took_410_000_iterations() -> None:
    assert recipe_of("dmd-ttur", "imagenet64").iterations == 410_000
    assert recipe_of("dmd2", "imagenet64").iterations == 200_000


def test_dmd_on_imagenet_regresses_by_lpips_and_its_variant_by_squares() -> None:
    for task, scale in (*((task, "micro") for task in MICRO_TASKS), *PAPER):
        dmd, squares = (recipe_of(name, task, scale) for name in ("dmd", "dmd-mse"))
        assert squares.regression_distance == "mse"
        assert dmd.regression_distance == ("lpips" if task == "imagenet64" else "mse")
        assert dmd.model_copy(update={"regression_distance": "mse"}) == squares


@pytest.mark.parametrize(("task", "scale"), [*((task, "micro") for task in MICRO_TASKS), *PAPER])
def test_warm_up_is_the_official_one_at_paper_scale_and_micro_runs_keep_theirs(task: str, scale: str) -> None:
    for name in METHODS:
        recipe = CATALOGUE.methods.get(name).recipe(task, scale, {})
        official = scale == "paper" and recipe.warmup > 0  # some authors have no warm-up at all
        assert recipe.warmup_from_zero == official
        assert (recipe.rate_at(0) == 0) == official


@pytest.mark.parametrize("task", MICRO_TASKS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_recipe_on_every_micro_task(name: str, task: str) -> None:
    method = CATALOGUE.methods.get(name)
    recipe = method.recipe(task, "micro", {})
    assert recipe.iterations <= 20_000 and recipe.batch_size <= 128, "paper numbers on a laptop"
    assert method.summary
    cls = method.load()
    assert issubclass(cls, Distiller) and cls.recipe_model is type(recipe)


def test_gan_and_dmd_are_one_class() -> None:
    assert {CATALOGUE.methods.get(name).load() for name in TABLE_3} == {DMD}


class TestLayers:
    """The order in which values override each other."""

    @staticmethod
    def method(*layers: dict[str, dict[str, Any]]) -> Method:
        return Method("m", "", "", Recipe, layers, lambda: Distiller)

    def test_in_a_layer_the_task_wins_over_the_scale_and_the_scale_over_all(self) -> None:
        layer = {"digits": {"lr": 3.0}, "micro": {"lr": 2.0, "warmup": 2}, "*": {"lr": 1.0, "warmup": 1}}
        method = self.method({**layer, "other": {"lr": 9.0}})
        assert method.values("digits", "micro") == {"lr": 3.0, "warmup": 2}
        assert method.values("fashion", "micro") == {"lr": 2.0, "warmup": 2}
        assert method.values("imagenet64", "paper") == {"lr": 1.0, "warmup": 1}

    def test_a_later_layer_wins_even_with_less_special_keys(self) -> None:
        method = self.method({"digits": {"lr": 1.0, "warmup": 1}}, {"*": {"lr": 2.0}})
        assert method.values("digits", "micro") == {"lr": 2.0, "warmup": 1}

    def test_the_users_values_win_over_all(self) -> None:
        method = self.method({"digits": {"lr": 1.0, "warmup": 1}})
        recipe = method.recipe("digits", "micro", {"lr": 3.0})
        assert (recipe.lr, recipe.warmup) == (3.0, 1)

    def test_a_mistake_names_the_method(self) -> None:
        with pytest.raises(UserError, match="'itrations' of method 'm'; did you mean 'iterations'"):
            self.method({}).recipe("digits", "micro", {"itrations": 1})


def test_a_class_registered_directly_is_described_by_itself() -> None:
    class Mine(DMD):
        """First line.

        More.
        """

        recipes: ClassVar = {"micro": {"lr": 0.1}}

    method = Method.of(Mine, "mine")
    assert (method.name, method.summary, method.load()) == ("mine", "First line.", Mine)
    assert method.recipe("digits", "micro", {}).lr == 0.1
    assert method.recipe("imagenet64", "paper", {}).lr == DMDRecipe().lr


def test_names_and_recipes_are_read_without_importing_torch() -> None:
    code = (
        "import sys; from bench.runs.registry import load_catalogue;"
        "load_catalogue().methods.get('dmd2').recipe('digits', 'micro', {});"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
