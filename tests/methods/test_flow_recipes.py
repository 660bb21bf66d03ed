"""The recipes of DMD2 for SD3.5, FLUX.1 and SANA: the values of public configurations."""

from __future__ import annotations

from typing import Any

import pytest

from bench.models.grid import student_indices
from bench.models.schedules import FlowSchedule, dynamic_shift
from bench.runs.registry import load_catalogue
from bench.training.recipe import Recipe

CATALOGUE = load_catalogue()
TASKS = ("coco10k-sd35", "coco10k-flux", "coco10k-sana")
SENSEFLOW = {"lr": 1e-6, "critic_lr": 1e-6, "weight_decay": 0.0, "guidance_scale": 4.0, "dm_range": (0.02, 0.98)}
FASTGEN = {"lr": 1e-5, "critic_lr": 1e-5, "gan_generator_weight": 0.03, "iterations": 5000, "guidance_scale": 1.0}
ONE_BASE = {"one_base": True, "lora_rank": 64, "critic_lora_rank": 64}


def recipe_of(method: str, task: str, **overrides: Any) -> Recipe:
    """A method's recipe on a task, which may have another task's recipes."""
    declared = CATALOGUE.tasks.get(task)
    return CATALOGUE.methods.get(method).recipe(declared.recipes or task, "paper", overrides)


@pytest.mark.parametrize(
    ("method", "task", "numbers"),
    [
        ("dmd2-4step", "coco10k-sd35", SENSEFLOW | {"one_base": False}),
        ("dmd2-4step", "coco10k-sd35-large", SENSEFLOW),
        ("dmd2-4step-lora", "coco10k-sd35", {"lr": 2e-5, "critic_lr": 5e-6, "lora_rank": 64}),
        ("dmd2-4step", "coco10k-flux", FASTGEN),
        ("dmd2-4step-lora", "coco10k-flux", ONE_BASE | {"iterations": 5000}),
        ("dmd2-4step", "coco10k-sana", {"guidance_scale": 4.5}),
    ],
)
def test_the_numbers_of_a_run(method: str, task: str, numbers: dict[str, Any]) -> None:
    found = recipe_of(method, task).model_dump()
    assert {key: found[key] for key in numbers} == numbers


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["dmd2", "dmd2-4step", "dmd2-4step-lora", "tdm", "ladd"])
def test_large_networks_run_in_bf16_with_checkpointing(method: str, task: str) -> None:
    recipe = recipe_of(method, task)
    assert (recipe.precision, recipe.teacher_precision, recipe.gradient_checkpointing) == ("bf16", "bf16", True)


def test_tasks_of_one_teacher_have_one_recipe() -> None:
    for key in ("sd35", "sd35-large", "flux", "sana"):
        assert recipe_of("dmd2-4step", f"partiprompts-{key}") == recipe_of("dmd2-4step", f"coco10k-{key}")


@pytest.mark.parametrize(
    ("shift", "published"),
    [(3.0, [1000, 900, 750, 500]), (dynamic_shift(4096), [1000, 904, 759, 512])],
    ids=["SD3.5", "FLUX.1 at 1024 px"],
)
def test_four_steps_are_at_senseflow_s_times(shift: float, published: list[int]) -> None:
    """Its trainer of FLUX.1 lists them; its script for SD3.5 gives 1, 0.75, ... to a schedule with shift 3."""
    indices = student_indices(4, 1000, recipe_of("dmd2-4step", "coco10k-sd35").student_start)
    times = FlowSchedule(shift).grid[indices]
    assert [int(1000 * time) for time in times] == pytest.approx(published, abs=1)
