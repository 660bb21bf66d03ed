"""Consistency distillation: the solver and the boundary condition in closed form, then the training step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from gaussian_data import GaussianDenoiser, denoised, each_schedule, moved, noised_images
from tiny_task_context import BATCH, make_batch, make_context, make_teacher, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.samplers import SampleNoise
from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule
from bench.runs.registry import load_catalogue
from bench.training.distiller import Noised
from bench.training.simulation import heun_step, ode_step
from bench.training.step_rng import StepRNG
from methods.consistency import Consistency, ConsistencyRecipe, consistency_function
from methods.losses import huber_loss

METHODS = load_catalogue().methods


def build(**values: Any) -> Consistency:
    values = {"batch_size": BATCH, "lr": 1e-3, "warmup": 0, **values}
    return Consistency(ConsistencyRecipe(**values), make_context())


def error(step: Any, schedule: NoiseSchedule, stride: int) -> float:
    """Return the largest error of one step of a solver over `stride` positions of the grid."""
    x_t, t = noised_images(schedule, [500, 600])
    s = schedule.grid[[500 - stride, 600 - stride]]
    found = step(lambda x, t, _: denoised(x, t, schedule), schedule, Noised(x_t, t, t), s)
    return float((found.x_t - moved(x_t, t, s, schedule)).abs().max())


@each_schedule
@pytest.mark.parametrize(("step", "order"), [(ode_step, 1), (heun_step, 2)])
def test_the_error_of_a_solver_has_its_order(schedule: NoiseSchedule, step: Any, order: int) -> None:
    """Half the step has about 2^(order + 1) times less error."""
    ratio = error(step, schedule, 8) / error(step, schedule, 4)
    assert 2 ** (order + 0.8) < ratio < 2 ** (order + 1.2)


@each_schedule
def test_at_the_smallest_noise_the_image_is_returned_whatever_the_network_says(schedule: NoiseSchedule) -> None:
    x_t, t = noised_images(schedule, [0, 0])
    f = consistency_function(torch.full_like(x_t, 9.0), x_t, t, schedule, 0.5)
    torch.testing.assert_close(f, x_t / schedule.alpha(t).reshape(-1, 1, 1, 1))


def test_the_coefficients_are_the_papers() -> None:
    """c_skip and c_out around EDM's network F (Song et al., App. C), for a network F that returns 1."""
    schedule, data, low = EDMSchedule(), 0.5, 0.002
    x_t, t = noised_images(schedule, [1, 400, 999])
    sigma = t.reshape(-1, 1, 1, 1)
    root = (sigma**2 + data**2).sqrt()
    edm = data**2 / root**2 * x_t + sigma * data / root
    paper = data**2 / ((sigma - low) ** 2 + data**2) * x_t + data * (sigma - low) / root
    torch.testing.assert_close(consistency_function(edm, x_t, t, schedule, data), paper, rtol=1e-9, atol=1e-9)


def test_where_there_is_only_noise_the_estimate_is_returned() -> None:
    schedule = FlowSchedule()
    x_t, t = noised_images(schedule, [999, 999])
    torch.testing.assert_close(consistency_function(x_t * 0 + 7, x_t, t, schedule, 0.5), x_t * 0 + 7)


def test_the_huber_loss_is_a_square_near_zero_and_a_line_far_from_it() -> None:
    x = torch.tensor([1e-5, 3.0], dtype=torch.float64, requires_grad=True)
    c = 1e-3
    loss = huber_loss(x, torch.zeros(2, dtype=torch.float64), c)
    loss.backward()
    torch.testing.assert_close(
        loss.detach(), torch.tensor((1e-10 / (2 * c) + 3 - c) / 2).double(), rtol=1e-4, atol=0
    )
    assert x.grad is not None
    torch.testing.assert_close(x.grad * 2, torch.tensor([1e-5 / c, 1.0]).double(), rtol=1e-4, atol=0)


def test_one_step_equals_the_formula() -> None:
    """Algorithm 2 of the paper, with Euler steps and EDM's noise: s = x + (s - t) (x - D(x)) / t."""
    method = build(solver="euler", segments=3, target_decay=0.0, clip_norm=1e9)
    student = copy.deepcopy(method.generator.network)
    batch = make_batch(3)
    figures = method.training_step(make_batch(3))

    grid = method.schedule.grid[[0, 333, 666, 999]].float()
    rng = StepRNG(seed=0, iteration=3)
    n = rng.integers(0, 3, BATCH)
    t, s = grid[n + 1], grid[n]
    x = batch.real + t.reshape(-1, 1, 1, 1) * rng.normal(batch.real)
    slope = (x - method.teacher(x, t, batch.real_condition)) / t.reshape(-1, 1, 1, 1)
    y = x + (s - t).reshape(-1, 1, 1, 1) * slope

    def f(x: Tensor, t: Tensor) -> Tensor:
        return consistency_function(student(x, t, batch.real_condition), x, t, method.schedule, 0.5)

    loss = ((f(x, t) - f(y, s).detach()) ** 2).mean()
    loss.backward()
    torch.testing.assert_close(figures["loss/consistency"], loss.detach())
    norm = torch.stack([p.grad.norm() for p in student.parameters() if p.grad is not None]).norm()
    torch.testing.assert_close(method.generator.gradient_norm, norm)


def test_the_loss_of_the_exact_function_vanishes_as_the_segments_shrink() -> None:
    """The exact function of Gaussian data is constant along the ODE, so only the solver's error is left."""
    losses = []
    for segments in (10, 40, 160):
        method = build(segments=segments)
        schedule = method.schedule
        method.solved = GaussianDenoiser(make_teacher())
        x_t, t = noised_images(schedule, list(range(100, 999, 50)))
        s = schedule.grid[[position - 999 // segments for position in range(100, 999, 50)]].clamp(min=0.002)
        reached = method.solve(Noised(x_t, t, t), s).x_t
        end = torch.full_like(t, 0.002)
        losses.append(float((moved(x_t, t, end, schedule) - moved(reached, s, end, schedule)).square().mean()))
    assert losses[1] < losses[0] / 100 and losses[2] < losses[1] / 100


def test_the_target_follows_the_student_and_only_the_student_is_trained() -> None:
    method = build(target_decay=0.9)
    assert method.target is not None
    teacher, target = weights(method.teacher), weights(method.target.network)
    for iteration in range(3):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert same(teacher, method.teacher) and not same(teacher, method.generator.network)
    assert not same(target, method.target.network)
    assert all(parameter.grad is None for parameter in method.target.network.parameters())


@pytest.mark.parametrize(
    "values", [{}, {"solver": "euler"}, {"target_decay": 0.0}, {"distance": "huber", "segments": 1}]
)
def test_passes_are_those_that_training_steps_make(values: dict[str, Any]) -> None:
    method = build(iterations=3, **values)
    counts = {"student": [0, 0], "teacher": [0, 0], "target": [0, 0]}

    def counter(name: str) -> Any:
        def count(_module: object, _inputs: object, output: Tensor) -> None:
            counts[name][0] += 1
            counts[name][1] += output.requires_grad

        return count

    method.generator.network.register_forward_hook(counter("student"))
    method.teacher.register_forward_hook(counter("teacher"))
    if method.target is not None:
        method.target.network.register_forward_hook(counter("target"))
    for iteration in range(3):
        method.training_step(make_batch(iteration))
    passes = {name: list(one) for name, one in method.recipe.cost().passes.items()}
    assert {name: count for name, count in counts.items() if count != [0, 0]} == passes


def test_a_guided_evaluation_costs_two_passes_of_the_teacher() -> None:
    recipe = ConsistencyRecipe(iterations=10, guidance_scale=3.0, ema_decay=0.9)
    assert recipe.cost().passes["teacher"].forward == 40
    assert recipe.cost().averages == 2


def test_images_are_sampled_with_the_consistency_function() -> None:
    student = make_teacher()
    sampler = Consistency.sampler(ConsistencyRecipe(student_steps=2), student)
    found = sampler(SampleNoise([1, 2], (1, 4, 4)), condition := torch.tensor([0, 1]))
    noise, (t, s) = SampleNoise([1, 2], (1, 4, 4)), student.schedule.grid[[999, 499]].float().reshape(2, 1)

    def f(x: Tensor, t: Tensor) -> Tensor:
        return consistency_function(student(x, t, condition), x, t, student.schedule, 0.5)

    x = f(t * noise.draw(), t.expand(2))
    torch.testing.assert_close(found, f(x + s * noise.draw(), s.expand(2)))
    assert sampler.evaluations == 2
    assert sampler.description["sigma_data"] == 0.5


def test_more_segments_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"40 segments do not fit below position 20 .* fix: --set segments=20"):
        build(segments=40, student_start=0.02)
    with pytest.raises(UserError, match=r"below position 0 of the noise grid, .* fix: --set student_start=0.5"):
        build(segments=1, student_start=1e-4)


def test_heun_is_refused_where_there_is_only_noise() -> None:
    """Its slopes are in the noise level, which is infinite there."""
    context = make_context(GaussianDenoiser(make_teacher(), FlowSchedule()))
    with pytest.raises(UserError, match=r"heun .* fix: --set solver=euler"):
        Consistency(ConsistencyRecipe(), context)
    assert Consistency(ConsistencyRecipe(solver="euler"), context).boundaries[-1] == 1


def test_guidance_requires_a_null_condition() -> None:
    with pytest.raises(UserError, match="null condition"):
        build(guidance_scale=2.0)


def test_lpips_requires_its_weights_as_a_role_of_the_task() -> None:
    with pytest.raises(UserError, match=r"distance=lpips requires .*; fix: bench prepare --weights lpips="):
        build(distance="lpips")
    assert METHODS.get("consistency").recipe("imagenet64", "paper", {}).roles == {"lpips", "tiny_vae"}
    assert ConsistencyRecipe().roles == set()


def test_values_without_effect_are_named() -> None:
    idle = ConsistencyRecipe().idle()
    assert idle["huber_c"] == idle["lpips_pooling"] == "distance is mse"
    assert "huber_c" not in ConsistencyRecipe(distance="huber").idle()


@pytest.mark.parametrize("task", ["digits", "fashion", "scenes", "scenes-flow"])
def test_micro_tasks_have_recipes(task: str) -> None:
    recipe = METHODS.get("consistency-4step").recipe(task, "micro", {})
    assert isinstance(recipe, ConsistencyRecipe)
    assert (recipe.student_steps, recipe.batch_size) == (4, 32)
