"""The recipes of DMD2 for SD1.5 and SDXL: the paper's F.3 and F.4, otherwise the official scripts."""

from __future__ import annotations

from typing import Any

import pytest

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.grid import student_indices
from bench.models.text.lora import LoRASpec
from bench.runs.registry import load_catalogue
from bench.runs.suites.reading import load_suite
from bench.training.recipe import Recipe
from methods.recipes import RegressionRecipe
from slurm.resources import resources

CATALOGUE = load_catalogue()
ONE_STEP = ("dmd", "dmd-no-regression", "dmd-ttur", "dmd2", "dmd2-ema", "gan", "gan-ttur", "regression")
FOUR_STEPS = sorted(name for name in CATALOGUE.methods.entries if name.startswith("dmd2-4step"))

ALL = {
    "betas": (0.9, 0.999),
    "weight_decay": 0.01,
    "clip_norm": 10.0,
    "warmup": 8,  # 500 / 64: accelerate steps the schedule once for each process
    "ema_decay": None,
    "gan_critic_weight": 1e-2,  # of the scripts; the paper has no word of it
    "dm_weight": 1.0,
    "dm_range": (0.02, 0.98),
    "critic_range": (0.0, 1.0),
    "gan_range": (0.0, 1.0),
}
SDXL = ALL | {
    "lr": 5e-7,
    "critic_lr": 5e-7,
    "critic_updates_per_generator_update": 5,
    "guidance_scale": 8.0,
    "gan_generator_weight": 5e-3,  # of the scripts
    "batch_size": 128,
}
SD15 = ALL | {
    "lr": 1e-5,
    "critic_lr": 1e-5,
    "critic_updates_per_generator_update": 10,
    "guidance_scale": 1.75,
    "gan_generator_weight": 1e-3,
    "batch_size": 2048,
    "iterations": 40_000,
}


def recipe_of(method: str, task: str, **overrides: Any) -> Recipe:
    return CATALOGUE.methods.get(method).recipe(task, "paper", overrides)


@pytest.mark.parametrize(
    ("method", "task", "numbers"),
    [
        ("dmd2-4step", "coco10k", SDXL | {"iterations": 20_000}),
        ("dmd2", "coco10k", SDXL | {"iterations": 25_000}),
        ("dmd2-4step-lora", "coco10k", SDXL | {"iterations": 16_000, "lr": 5e-5, "critic_lr": 5e-5}),
        ("dmd-ttur", "coco30k", SD15 | {"gan": False}),
        ("dmd2", "coco30k", SD15 | {"gan": True}),
    ],
)
def test_the_numbers_of_a_run(method: str, task: str, numbers: dict[str, Any]) -> None:
    found = recipe_of(method, task).model_dump()
    assert {key: found[key] for key in numbers} == numbers


@pytest.mark.parametrize(
    ("methods", "task", "times"),
    [
        (ONE_STEP, "coco10k", [399]),
        (FOUR_STEPS, "coco10k", [999, 749, 499, 249]),
        (("dmd2", "dmd-ttur"), "coco30k", [999]),
    ],
)
def test_where_students_take_their_noise(methods: tuple[str, ...], task: str, times: list[int]) -> None:
    """The shift to t = 399 is one-step SDXL's alone (F.4)."""
    for method in methods:
        recipe = recipe_of(method, task)
        assert student_indices(recipe.student_steps, 1000, recipe.student_start) == times, method


def test_rows_of_table_4_differ_in_what_they_leave_out() -> None:
    """The paper gives no separate budget or rate for them."""
    whole = recipe_of("dmd2-4step", "coco10k").model_dump()
    for method, off in {"no-gan": "gan", "no-dm": "distribution_matching"}.items():
        assert recipe_of(f"dmd2-4step-{method}", "coco10k").model_dump() == whole | {off: False}
    without = recipe_of("dmd2-4step-no-backward-simulation", "coco10k").model_dump()
    assert without == whole | {"input_simulation": "noised-real"}


def test_an_average_of_weights_is_all_that_is_added_to_dmd2() -> None:
    for task in ("coco10k", "coco30k"):
        averaged, plain = (recipe_of(method, task).model_dump() for method in ("dmd2-ema", "dmd2"))
        assert averaged | {"ema_decay": None} == plain


def test_the_second_stage_of_sd15() -> None:
    """5,000 iterations at 5e-7 with the GAN, from the first stage's student (F.3)."""
    first, second = load_suite("table5").scale("paper").rows
    assert (first.method, second.method, second.starts_from) == ("dmd-ttur", "dmd2", "dmd-ttur")
    assert second.overrides == {"iterations": 5000, "lr": 5e-7, "critic_lr": 5e-7}


def test_one_step_sdxl_is_pretrained_on_pairs() -> None:
    """10,000 pairs for a short period (F.4): 2,000 iterations of 256 at 1e-5, unclipped (script)."""
    rows = {row.label: row for row in load_suite("table2").scale("paper").rows}
    assert rows["DMD2, 1 step"].starts_from == "regression"
    recipe = recipe_of("regression", "coco10k")
    assert isinstance(recipe, RegressionRecipe)
    assert (recipe.pairs, recipe.iterations, recipe.batch_size, recipe.lr) == (10_000, 2000, 256, 1e-5)
    assert (recipe.weight_decay, recipe.regression_distance, recipe.lpips_pooling) == (0.01, "lpips", "average")
    assert recipe.clip_norm > 1e6
    # 500 / 64 of the schedule: over 500 iterations it would learn an eighth less.
    assert recipe.warmup == 8
    assert sum(recipe.rate_at(iteration) for iteration in range(2000)) == 1995.5


def test_the_lora_is_the_published_one() -> None:
    recipe = recipe_of("dmd2-4step-lora", "coco10k")
    assert (recipe.lora_rank, recipe.lora_alpha) == (LoRASpec().rank, LoRASpec().alpha) == (64, 8.0)
    assert LoRASpec().dropout == 0
    attention = {"to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"}
    convolutions = {"conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"}
    assert set(StableDiffusionDenoiser.lora_targets) == attention | convolutions | {"time_emb_proj"}


@pytest.mark.parametrize(("task", "processes"), [("coco10k", 64), ("coco30k", 64), ("imagenet64", 7)])
def test_a_cluster_is_asked_for_the_paper_s_gpus(task: str, processes: int) -> None:
    """64 A100 for either of Stable Diffusion's (F.3, F.4), 7 for ImageNet (F.2)."""
    assert resources(task, "paper", "train").processes == processes
