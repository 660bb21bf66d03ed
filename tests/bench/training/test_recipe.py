"""Recipes have the paper's values as defaults, errors name the fix, and rates have a closed form."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi
from pathlib import Path
from typing import Self

import pytest
import torch
from diffusers.optimization import get_constant_schedule_with_warmup
from pydantic import ValidationError, field_validator, model_validator

from bench.core.errors import UserError
from bench.training.recipe import ALARM_KEYS, Recipe, build_recipe
from methods.consistency import ConsistencyRecipe
from methods.progressive import ProgressiveRecipe
from methods.recipes import DMDRecipe, RegressionRecipe
from methods.scm import SCMRecipe


class TestDefaults:
    """The values are those of the paper's F.2, or of the official script if the paper gives none."""

    def test_optimisation(self) -> None:
        recipe = DMDRecipe()
        assert (recipe.lr, recipe.critic_lr) == (2e-6, 2e-6)
        assert (recipe.batch_size, recipe.iterations, recipe.warmup) == (280, 200_000, 500)
        assert (recipe.betas, recipe.weight_decay, recipe.clip_norm) == ((0.9, 0.999), 0.01, 10.0)
        assert recipe.critic_updates_per_generator_update == 5
        assert recipe.lr_decay == 0 and recipe.ema_decay is None

    def test_losses(self) -> None:
        recipe = DMDRecipe()
        assert recipe.distribution_matching and recipe.gan and not recipe.regression
        assert (recipe.dm_weight, recipe.dm_range) == (1.0, (0.02, 0.98))
        assert (recipe.gan_generator_weight, recipe.gan_critic_weight) == (3e-3, 1e-2)
        assert recipe.gan_range == recipe.critic_range == (0.0, 1.0)

    def test_student(self) -> None:
        recipe = DMDRecipe()
        assert recipe.student_steps == 1 and recipe.guidance_scale == 1


class TestMistakes:
    def test_an_unknown_key_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"unknown recipe key 'critic_lrr' of method 'dmd2'.*'critic_lr'"):
            build_recipe(DMDRecipe, {"critic_lrr": 1e-5}, "method 'dmd2'")

    def test_a_key_like_no_other_is_answered_with_all(self) -> None:
        with pytest.raises(UserError, match=r"valid: .*batch_size.*weight_decay"):
            build_recipe(Recipe, {"zzzzzzzz": 1}, "it")

    def test_a_list_without_brackets_is_answered_with_one(self) -> None:
        with pytest.raises(
            UserError, match=r"'0\.1,0\.5' .* it is a list in brackets; fix: write it as --set 'gan_range=\["
        ):
            build_recipe(DMDRecipe, {"gan_range": "0.1,0.5"}, "it")

    def test_another_methods_key_is_unknown(self) -> None:
        with pytest.raises(UserError, match="unknown recipe key 'gan_generator_weight'"):
            build_recipe(Recipe, {"gan_generator_weight": 0.1}, "it")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("lr", 0),
            ("lr", "fast"),
            ("batch_size", 2.5),
            ("iterations", 0),
            ("student_steps", 1001),
            ("ema_decay", 1.0),
            ("precision", "fp16"),
            ("gan", "perhaps"),
            ("input_simulation", "forward"),
            ("lr_decay", 1.5),
        ],
    )
    def test_a_bad_value_is_named_with_its_key(self, key: str, value: object) -> None:
        with pytest.raises(UserError, match=f"bad value {value!r} for recipe key '{key}' of it"):
            build_recipe(DMDRecipe, {key: value}, "it")

    @pytest.mark.parametrize("span", [[0.9, 0.1], [-0.1, 0.5], [0.0, 1.5]])
    @pytest.mark.parametrize("key", ["dm_range", "critic_range", "gan_range"])
    def test_a_part_of_the_noise_grid_lies_on_it(self, key: str, span: list[float]) -> None:
        with pytest.raises(UserError, match=rf"recipe key '{key}'.*0 <= low <= high <= 1"):
            build_recipe(DMDRecipe, {key: span}, "it")

    def test_a_bad_part_of_a_value_is_named_with_its_place(self) -> None:
        with pytest.raises(UserError, match=r"bad value 'x' for recipe key 'dm_range\.1'"):
            build_recipe(DMDRecipe, {"dm_range": [0.0, "x"]}, "it")

    def test_values_that_conflict_are_refused_with_only_the_fix(self) -> None:
        with pytest.raises(
            UserError, match=r"^recipe of it: teacher_precision=bf16 requires .*fix: --set teacher_"
        ):
            build_recipe(DMDRecipe, {"precision": "fp32", "teacher_precision": "bf16"}, "it")


def test_texts_from_the_command_line_are_read_as_what_they_mean() -> None:
    recipe = build_recipe(DMDRecipe, {"lr": "1e-5", "gan": "false", "betas": ["0", "0.99"]}, "it")
    assert isinstance(recipe, DMDRecipe)
    assert (recipe.lr, recipe.gan, recipe.betas) == (1e-5, False, (0.0, 0.99))


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().lr = 1.0


def library_schedule(warmup: int) -> Callable[[int], float]:
    """Return the library's factor on the rate by step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    factor: Callable[[int], float] = get_constant_schedule_with_warmup(optimizer, warmup).lr_lambdas[0]
    return factor


class TestRate:
    def test_warm_up_is_linear_and_then_the_rate_is_constant(self) -> None:
        recipe = Recipe(iterations=1000, warmup=100)
        assert recipe.rate_at(0) == pytest.approx(0.01)
        assert recipe.rate_at(49) == pytest.approx(0.5)
        assert {recipe.rate_at(i) for i in (99, 100, 500, 999)} == {1.0}

    def test_the_official_warm_up_starts_at_rate_zero(self) -> None:
        """Diffusers' constant_with_warmup has factor step / warmup at step 0, 1, 2, ..."""
        recipe = Recipe(iterations=1000, warmup=100, warmup_from_zero=True)
        schedule = library_schedule(warmup=100)
        for iteration in (0, 1, 49, 98, 99, 100, 500):
            assert recipe.rate_at(iteration) == pytest.approx(schedule(iteration), abs=0), iteration
        assert recipe.rate_at(0) == 0 and recipe.rate_at(99) < recipe.rate_at(100) == 1

    @pytest.mark.parametrize("official", [True, False])
    def test_without_warm_up_there_is_no_rate_of_zero(self, official: bool) -> None:
        assert Recipe(warmup=0, warmup_from_zero=official).rate_at(0) == 1

    def test_without_warm_up_it_starts_in_full(self) -> None:
        assert Recipe(warmup=0).rate_at(0) == 1

    def test_the_tail_falls_along_a_cosine(self) -> None:
        """The last 40 % of 1,000 iterations: 1 at 600, a half at 800, almost nothing at the last one."""
        recipe = Recipe(iterations=1000, warmup=0, lr_decay=0.4)
        assert recipe.rate_at(599) == recipe.rate_at(600) == 1
        assert recipe.rate_at(800) == pytest.approx(0.5)
        for iteration in (601, 700, 999):
            assert recipe.rate_at(iteration) == pytest.approx((1 + cos(pi * (iteration - 600) / 400)) / 2)
        assert 0 < recipe.rate_at(999) < 1e-4

    def test_warm_up_and_tail_multiply_where_they_meet(self) -> None:
        recipe = Recipe(iterations=100, warmup=100, lr_decay=1.0)
        assert recipe.rate_at(49) == pytest.approx(0.5 * (1 + cos(pi * 0.49)) / 2)


def test_pairs_are_asked_for_where_something_regresses_to_them() -> None:
    assert Recipe().teacher_pairs == DMDRecipe(pairs=7).teacher_pairs == 0
    assert DMDRecipe(pairs=7, regression=True).teacher_pairs == RegressionRecipe(pairs=7).teacher_pairs == 7


def test_a_run_is_named_by_its_whole_recipe_but_for_paths_and_alarms(tmp_path: Path) -> None:
    """All values except paths and alarms, which only note what happens, are part of the run's name."""
    identity = DMDRecipe().identity()
    left_out = {"init_from", "lpips_weights", *ALARM_KEYS, *DMDRecipe.all_added_later()}
    assert DMDRecipe.model_fields.keys() - identity.keys() == left_out
    assert identity == DMDRecipe().model_dump(mode="json", exclude=left_out)
    assert DMDRecipe(init_from=tmp_path, lpips_weights=tmp_path / "file").identity() == identity
    assert DMDRecipe(best_every=500).identity() == identity | {"best_every": 500}
    assert DMDRecipe(alarm_window=50, alarms="off").identity() == identity


def test_a_key_that_was_added_later_is_part_of_a_name_with_another_value_than_its_default() -> None:
    """So published runs keep their names, and a run with the new option has another one."""
    assert DMDRecipe(ida_share=0.02).identity() == DMDRecipe().identity() | {"ida_share": 0.02}


def test_alarms_that_end_a_run_are_part_of_its_name() -> None:
    """Otherwise a run that an alarm has ended would count as the result of one that goes on."""
    stopped = DMDRecipe(alarms="stop").identity()
    assert stopped["alarms"] == "stop"
    assert stopped.keys() == DMDRecipe().identity().keys() | ALARM_KEYS
    assert DMDRecipe(alarms="stop", alarm_critic=0.5).identity() != stopped


def test_keys_without_effect_are_known() -> None:
    assert {"best_every", "best_samples"} <= DMDRecipe().idle().keys()
    assert DMDRecipe(alarms="off").idle()["alarm_window"] == "alarms is off"


def test_a_training_of_less_than_two_windows_has_no_alarm() -> None:
    why = "there is no second window of 100 in 150 iterations"
    assert {key for key, said in DMDRecipe(iterations=150).idle().items() if said == why} == {
        *ALARM_KEYS - {"alarms", "alarm_window"}
    }
    assert "alarm_window" in DMDRecipe(iterations=99).idle()
    assert not ALARM_KEYS & DMDRecipe(iterations=200).idle().keys()


class TestTrainingThatIsTooShort:
    """Values whose interval is longer than the training are named, with what follows."""

    def test_a_warm_up_that_ends_with_the_training_reaches_the_full_rate(self) -> None:
        assert "warmup" not in Recipe(iterations=500, warmup=500).unreached()
        assert "rise to 50% of" in Recipe(iterations=250, warmup=500).unreached()["warmup"]
        assert "warmup" in Recipe(iterations=500, warmup=500, warmup_from_zero=True).unreached()

    def test_a_warm_up_of_each_stage_has_the_shortest_stage(self) -> None:
        recipe = ProgressiveRecipe(iterations=100, starting_steps=4, warmup=50)
        assert "warmup" not in recipe.unreached()
        assert "in 50 iterations" in recipe.model_copy(update={"warmup": 51}).unreached()["warmup"]

    def test_selection_that_measures_once_says_so(self) -> None:
        short = Recipe(iterations=400, warmup=0, best_every=500)
        assert short.unreached() == {}
        assert set(short.model_copy(update={"keep_best": True}).unreached()) == {"best_every"}

    def test_alarms_that_cannot_ring_are_named_unless_they_are_off(self) -> None:
        assert set(Recipe(iterations=199, warmup=0).unreached()) == {"alarm_window"}
        assert Recipe(iterations=199, warmup=0, alarms="off").unreached() == {}

    def test_methods_name_intervals_of_their_own(self) -> None:
        for recipe, key in (
            (SCMRecipe(iterations=1000, tangent_warmup=1000), "tangent_warmup"),
            (ConsistencyRecipe(iterations=1000, target_decay=0.9999), "target_decay"),
            (
                DMDRecipe(iterations=300, critic_updates_per_generator_update=300),
                "critic_updates_per_generator_update",
            ),
        ):
            longer = recipe.model_copy(update={"iterations": 10_000})
            assert key in recipe.unreached() and key not in longer.unreached()


class WithRules(Recipe):
    """A recipe of a plug-in, with rules of its own."""

    spans: dict[str, tuple[float, float]] = {}  # noqa: RUF012 (a field of pydantic, which copies it)
    jump: int = 3

    @field_validator("jump")
    @classmethod
    def _short(cls, jump: int) -> int:
        if jump > 5:
            raise ValueError("a jump is at most 5")
        return jump

    @model_validator(mode="after")
    def _lucky(self) -> Self:
        if self.jump == 4:
            raise ValueError("jump 4 is unlucky")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"jump": 9},
            "bad value 9 for recipe key 'jump' of method 'mine': a jump is at most 5; fix: bench describe ",
        ),
        ({"jump": 4}, "recipe of method 'mine': jump 4 is unlucky; fix: bench describe "),
        (
            {"spans": {"a": 3}},
            "bad value 3 for recipe key 'spans.a' of method 'mine': Input should be a valid tuple",
        ),
    ],
)
def test_the_rules_of_a_recipe_speak_in_their_own_words(values: dict[str, object], said: str) -> None:
    """The last was a KeyError: the value is inside of a field."""
    with pytest.raises(UserError) as refused:
        build_recipe(WithRules, values, "method 'mine'")
    assert str(refused.value).startswith(said)
