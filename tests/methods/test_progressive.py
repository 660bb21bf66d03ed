"""Progressive distillation: its target against two DDIM steps, its stages, and what a restart must not change."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from gaussian_data import GaussianDenoiser, each_schedule, noised_images
from tiny_task_context import BATCH, CLASSES, make_batch, make_context, make_teacher, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.samplers import SampleNoise
from bench.models.schedules import NoiseSchedule, per_sample
from bench.runs.registry import load_catalogue
from bench.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from bench.training.cost import Passes
from bench.training.distiller import MicroBatch, Noised
from bench.training.passes import PassCounter
from methods.progressive import Progressive, ProgressiveRecipe, two_step_target

METHOD = load_catalogue().methods.get("progressive")
SMALL: dict[str, Any] = {"batch_size": BATCH, "iterations": 6, "starting_steps": 8, "lr": 1e-3}


def recipe(**values: Any) -> ProgressiveRecipe:
    found = METHOD.recipe("tiny", "paper", {**SMALL, **values})
    assert isinstance(found, ProgressiveRecipe)
    return found


def make(teacher: Any = None, null: Tensor | None = None, **values: Any) -> Progressive:
    return Progressive(recipe(**values), make_context(teacher, null))


def double(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_schedule
class TestTarget:
    def test_it_is_the_papers_formula(self, schedule: NoiseSchedule) -> None:
        """It is (z'' - q z) / (alpha'' - q alpha) with q = sigma'' / sigma; z' and z'' are DDIM steps."""
        z, first, second = (double(seed, 3, 1, 4, 4) for seed in range(3))
        t, middle, end = (schedule.grid[[700 - d, 400 - d, 200 - d]] for d in (0, 30, 60))
        (a, s), (a1, s1), (a2, s2) = (
            (per_sample(schedule.alpha(at), z), per_sample(schedule.sigma(at), z)) for at in (t, middle, end)
        )
        z1 = a1 * first + s1 / s * (z - a * first)
        z2 = a2 * second + s2 / s1 * (z1 - a1 * second)
        expected = (z2 - s2 / s * z) / (a2 - s2 / s * a)
        found = two_step_target(
            first, second, *((schedule.alpha(at) / schedule.sigma(at)) for at in (t, middle, end))
        )
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)

    def test_one_ddim_step_with_it_arrives_where_two_of_the_teacher_do(self, schedule: NoiseSchedule) -> None:
        """The teacher is the optimal denoiser of Gaussian images, in float64."""
        teacher = GaussianDenoiser(make_teacher(), schedule)
        z, t = noised_images(schedule, [999, 700, 300])
        middle, end = (schedule.grid[[at - gap for at in (999, 700, 300)]] for gap in (50, 100))
        condition = torch.zeros(3)
        first = teacher(z, t, condition)
        half = schedule.ode_point(z, first, t, middle)
        second = teacher(half, middle, condition)
        there = schedule.ode_point(half, second, middle, end)
        target = two_step_target(
            first, second, *((schedule.alpha(at) / schedule.sigma(at)) for at in (t, middle, end))
        )
        torch.testing.assert_close(schedule.ode_point(z, target, t, end), there, rtol=1e-8, atol=1e-10)

    def test_two_steps_to_the_clean_image_are_the_teachers_second_image(self, schedule: NoiseSchedule) -> None:
        first, second = double(0, 2, 1, 4, 4), double(1, 2, 1, 4, 4)
        ratios = (
            schedule.alpha(t) / schedule.sigma(t) for t in (schedule.grid[[800, 500]], schedule.grid[[400, 250]])
        )
        assert torch.equal(two_step_target(first, second, *ratios, torch.full((2,), torch.inf)), second)

    def test_the_method_takes_its_steps_with_the_stages_teacher(self, schedule: NoiseSchedule) -> None:
        """Two steps of the teacher for one of the student: to the middle of the grid, then to the image."""
        method = make(GaussianDenoiser(make_teacher(), schedule), starting_steps=2)
        z, t = (value.float() for value in noised_images(schedule, [999, 999]))
        point = Noised(z, t, torch.zeros(2))
        knots = method.positions(0)
        assert knots.tolist() == [999, 499, -1]
        found = method.two_steps(method.teacher, point, knots, torch.tensor([0, 0]))
        middle = schedule.grid[[499, 499]].float()
        half = schedule.ode_point(z, method.teacher(*point), t, middle)
        torch.testing.assert_close(found, method.teacher(half, middle, point.condition))


def test_the_weight_is_the_truncated_snr() -> None:
    """On EDM's schedule it is 1 / sigma^2 below noise level 1, and 1 above."""
    weight = make().truncated_snr(torch.tensor([0.1, 0.5, 1.0, 80.0]))
    torch.testing.assert_close(weight, torch.tensor([100.0, 4.0, 1.0, 1.0]))


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_the_steps_of_all_stages_are_nested_and_end_with_the_students_own(steps: int) -> None:
    method = make(student_steps=steps, starting_steps=16 * steps)
    found = [method.positions(stage).tolist() for stage in range(method.recipe.stages)]
    assert [len(knots) - 1 for knots in found] == [16 * steps >> stage for stage in range(4)]
    for finer, coarser in pairwise(found):
        assert coarser == finer[::2]
        assert sorted(set(finer), reverse=True) == finer
    assert found[-1][::2] == [*method.indices, -1]


def test_iterations_are_divided_equally_and_each_stage_has_its_own_rates() -> None:
    own = recipe(iterations=300, starting_steps=8, warmup=10, lr_decay=0.5)
    assert own.stages == 3
    assert [own.start_of(stage) for stage in range(4)] == [0, 100, 200, 300]
    assert [own.stage(iteration) for iteration in (0, 99, 100, 199, 200, 299)] == [0, 0, 1, 1, 2, 2]
    for start in (0, 100, 200):
        assert own.rate_at(start) == pytest.approx(0.1) and own.rate_at(start + 30) == 1
        assert own.rate_at(start + 75) == pytest.approx(0.5) and own.rate_at(start + 99) < 0.01
    uneven = recipe(iterations=7)
    stages = [uneven.stage(iteration) for iteration in range(7)]
    assert [stages.index(stage) for stage in range(3)] == [uneven.start_of(stage) for stage in range(3)]


def test_the_student_of_a_stage_teaches_the_next() -> None:
    """Six iterations are two of each stage. The target takes the student's weights at the end of a stage."""
    method = make()
    target, students = method.target.network, []
    for iteration in range(6):
        before = weights(target)
        method.training_step(make_batch(iteration))
        students.append(weights(method.generator.network))
        if iteration in (1, 3):
            assert same(students[-1], target)
        else:
            assert same(before, target)
    assert not same(students[1], method.generator.network)


def test_a_stage_ends_with_its_last_micro_batch() -> None:
    method = make()
    method.training_step(make_batch(0))
    before = weights(method.target.network)
    method.micro_batch = MicroBatch(0, 2)
    method.training_step(make_batch(1))
    assert same(before, method.target.network)
    method.micro_batch = MicroBatch(1, 2)
    method.training_step(make_batch(1))
    assert same(weights(method.generator.network), method.target.network)


def test_only_the_first_stage_asks_the_teacher() -> None:
    """With guidance its two steps are four passes. The student then has the guidance in its weights."""
    method = make(null=torch.tensor([CLASSES - 1]), guidance_scale=3.0)
    counter = PassCounter(method)
    for iteration in range(6):
        method.training_step(make_batch(iteration))
    found = {name: Passes(*(images / BATCH for images in count)) for name, count in counter.counts.items()}
    assert found == dict(method.recipe.cost().passes)
    assert found == {"student": (6, 6), "teacher": (2 * 4, 0), "target": (4 * 2, 0)}


@pytest.mark.parametrize("done", [2, 3])
def test_a_restart_at_a_stage_and_within_one_changes_no_bit(done: int, tmp_path: Any) -> None:
    straight, interrupted, resumed = make(), make(), make()
    for iteration in range(6):
        straight.training_step(make_batch(iteration))
    for iteration in range(done):
        interrupted.training_step(make_batch(iteration))
    save_checkpoint(tmp_path, interrupted, TrainingState(done, 0.0, "", None))
    restored = copy.deepcopy(resumed.recipe)
    assert restore_checkpoint(tmp_path, resumed) is not None and resumed.recipe == restored
    for iteration in range(done, 6):
        resumed.training_step(make_batch(iteration))
    assert same(weights(straight.generator.network), resumed.generator.network)


def test_the_student_is_sampled_without_new_noise() -> None:
    method = make(student_steps=4, starting_steps=8)
    sampler = Progressive.sampler(method.recipe, method.teacher)
    assert sampler.description["kind"] == "few-step-ode" and sampler.evaluations == 4
    assert sampler.description["grid_indices"] == method.indices == [999, 749, 499, 249]
    noise = SampleNoise([5], (1, 4, 4))
    sampler(noise, torch.zeros(1, dtype=torch.long))
    assert torch.equal(noise.draw(), _second_draw())


def _second_draw() -> Tensor:
    noise = SampleNoise([5], (1, 4, 4))
    noise.draw()
    return noise.draw()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"starting_steps": 12}, r"starting_steps 12 .* 2, 4, 8, .*, 512; fix: --set starting_steps=8"),
        ({"starting_steps": 1024}, r"starting_steps 1024 .* fix: --set starting_steps=512"),
        ({"student_steps": 8}, r"starting_steps 8 is not student_steps 8 .* fix: --set starting_steps=16"),
        ({"student_steps": 600}, r"none fits; fix: --set student_steps=4"),
        ({"iterations": 2}, r"2 iterations are fewer than the 3 stages .* fix: --set starting_steps=2"),
    ],
)
def test_steps_that_halving_does_not_lead_to_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**values)
