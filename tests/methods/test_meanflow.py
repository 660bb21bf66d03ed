"""MeanFlow distillation: the exact average velocity of Gaussian data, then the student and its training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gaussian_data import MEAN, STD, denoised, each_schedule, moved
from tiny_task_context import BATCH, make_batch, make_context, make_teacher, normal, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.samplers import SampleNoise
from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule, per_sample
from bench.runs.registry import load_catalogue
from methods.flow_maps import FlowMapRecipe, derivative_along
from methods.meanflow import MeanFlow, MeanFlowRecipe, adaptive_loss, average_velocity, follow, velocity

METHODS = load_catalogue().methods
NOTHING = torch.zeros(3)


def build(**values: Any) -> MeanFlow:
    values = {"batch_size": BATCH, "lr": 1e-3, "warmup": 0, **values}
    return MeanFlow(MeanFlowRecipe(**values), make_context())


class Exact:
    """A student that knows the ODE of Gaussian data: x0 = z_t - t u, where u = (z_t - z_r) / (t - r)."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self.schedule = schedule

    def __call__(self, x_t: Tensor, own: Tensor, _: Tensor, interval: Tensor | None = None) -> Tensor:
        t, flow = self.schedule.flow_time(own), FlowSchedule()
        interval = t if interval is None else interval
        z = x_t / per_sample(self.schedule.alpha(own) + self.schedule.sigma(own), x_t)
        u = (z - moved(z, t, t - interval, flow)) / per_sample(interval, z)
        return z - per_sample(t, z) * u


def flow_point(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Return noised images of Gaussian data in rectified flow's coordinates, and their times.

    They lie between the grid's times, where a schedule that is a table (VP) has derivatives.
    """
    t = 0.9999 * schedule.flow_time(schedule.grid[[300, 500, 800]])
    x, eps = normal(0, 3, 1, 4, 4).double(), normal(1, 3, 1, 4, 4).double()
    return FlowSchedule().add_noise(MEAN + STD * x, eps, t), t


@each_schedule
def test_the_teachers_velocity_is_the_slope_of_its_ode(schedule: NoiseSchedule) -> None:
    (z, t), h = flow_point(schedule), 1e-5
    found = velocity(lambda x, t, _: denoised(x, t, schedule), schedule, z, t, NOTHING)  # type: ignore[arg-type]
    slope = (moved(z, t, t + h, FlowSchedule()) - moved(z, t, t - h, FlowSchedule())) / (2 * h)
    torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-5)


@each_schedule
def test_the_exact_average_velocity_equals_its_target(schedule: NoiseSchedule) -> None:
    """u = v - (t - r) du/dt, where neither the difference u - v nor the derivative is small."""
    z, t = flow_point(schedule)
    interval = t * torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    exact: Any = Exact(schedule)

    def student(z: Tensor, t: Tensor, interval: Tensor) -> Tensor:
        return velocity(exact, schedule, z, t, NOTHING, interval)

    v = velocity(lambda x, t, _: denoised(x, t, schedule), schedule, z, t, NOTHING)  # type: ignore[arg-type]
    ones = torch.ones_like(t)
    derivative = derivative_along(student, (z, t, interval), (v, ones, ones), FlowMapRecipe())
    u = student(z, t, interval)
    torch.testing.assert_close(u, average_velocity(v, derivative, interval), rtol=1e-9, atol=1e-9)
    assert float((u - v).abs().max()) > 0.01


@each_schedule
@pytest.mark.parametrize("steps", [[800], [800, 600, 300, 100]])
def test_samples_of_the_exact_student_are_those_of_the_ode(schedule: NoiseSchedule, steps: list[int]) -> None:
    noise = SampleNoise([1, 2], (1, 4, 4))
    found = follow(Exact(schedule), noise, torch.zeros(2), schedule.grid[steps].tolist())  # type: ignore[arg-type]
    start = schedule.grid[steps[:1]].expand(2)
    x_t = schedule.prior(SampleNoise([1, 2], (1, 4, 4)).draw(), start)
    z = x_t / per_sample(schedule.alpha(start) + schedule.sigma(start), x_t)
    end = moved(z.double(), schedule.flow_time(start), torch.zeros(2).double(), FlowSchedule())
    torch.testing.assert_close(found.double(), end, rtol=1e-4, atol=1e-4)


def test_an_untrained_student_is_the_teacher_at_any_interval() -> None:
    method, batch = build(), make_batch()
    t = torch.full((BATCH,), 2.0)
    with torch.no_grad():
        expected = method.teacher(batch.real, t, batch.condition)
        for interval in (torch.zeros(BATCH), torch.rand(BATCH)):
            assert torch.equal(method.generator(batch.real, t, batch.condition, interval), expected)


def test_the_adaptive_weight_divides_gradients_and_not_the_minimum() -> None:
    error = torch.tensor([4.0, 0.0], dtype=torch.float64, requires_grad=True)
    loss = adaptive_loss(error, 1.0, 0.01)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5 * 4 / 4.01)
    assert error.grad is not None
    assert error.grad.tolist() == pytest.approx([0.5 / 4.01, 0.5 / 0.01])
    assert float(adaptive_loss(error.detach(), 0.0, 0.01)) == pytest.approx(2)


def test_times_are_ordered_and_a_share_of_them_equal() -> None:
    method = build(instant_share=0.3)
    drawn = [method.draw_times(make_batch(i)) for i in range(200)]
    t, r = (torch.cat(times) for times in zip(*drawn, strict=True))
    assert bool((t >= r).all())
    assert float((t == r).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert float(t.max()) <= 80 / 81 + 1e-9


def test_at_r_equal_to_t_the_student_learns_the_teachers_velocity() -> None:
    """So an untrained student has no error there, and any elsewhere."""
    for share, largest in ((1.0, 1e-9), (0.0, 1e9)):
        error = float(build(instant_share=share).training_step(make_batch())["error"])
        assert error <= largest
        assert (error > 1e-3) == (share == 0)


@pytest.mark.parametrize("values", [{}, {"tangent": "finite-difference"}])
def test_only_the_student_is_trained_and_passes_are_counted(values: dict[str, Any]) -> None:
    method = build(iterations=3, instant_share=0.0, **values)
    teacher, calls = weights(method.teacher), {"student": 0, "teacher": 0}
    student = method.generator.network
    before = weights(student.interval)
    student.register_forward_hook(lambda *_: calls.update(student=calls["student"] + 1))
    method.teacher.register_forward_hook(lambda *_: calls.update(teacher=calls["teacher"] + 1))
    for iteration in range(3):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert same(teacher, method.teacher) and not same(teacher, student)
    assert not same(before, student.interval)
    passes = method.recipe.cost().passes
    in_forward_mode = 3 if method.recipe.tangent == "jvp" else 0  # one call that costs two passes
    assert calls["student"] + in_forward_mode == passes["student"].forward
    assert calls["teacher"] == passes["teacher"].forward == 3


def test_a_large_step_of_the_difference_stays_within_the_times() -> None:
    """The student's first time is 80 / 81: a step of 0.05 would end at a time over 1, whose level is negative."""
    method = build(instant_share=0.0, tangent="finite-difference", tangent_step=0.05)
    for iteration in range(5):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.isfinite() for figure in figures.values())
    t = torch.tensor([0.002, 0.2, 0.5, 0.8, 80 / 81], dtype=torch.float64)
    step = method.recipe.tangent_step * method.room(t)
    assert ((t - step > 0) & (t + step < 1)).all()
    assert method.room(t)[1:4].tolist() == [1, 1, 1]
    assert build().room(t).tolist() == [1] * 5


def test_a_student_that_was_rebuilt_takes_the_trained_weights() -> None:
    """The trainer evaluates a new student with the weights of the trained one."""
    method = build(instant_share=0.0)
    method.training_step(make_batch())
    student = method.build_student(method.teacher)
    student.load_state_dict(method.generator.network.state_dict())
    x, t, c = normal(3, 2, 1, 4, 4), torch.tensor([1.0, 2.0]), torch.tensor([0, 1])
    with torch.no_grad():
        assert torch.equal(student(x, t, c, t / 9), method.generator(x, t, c, t / 9))
    assert isinstance(student.schedule, EDMSchedule)


def test_records_say_that_the_sampler_follows_the_ode() -> None:
    student = build().build_student(make_teacher())
    sampler = MeanFlow.sampler(MeanFlowRecipe(student_steps=2), student)
    assert (sampler.evaluations, sampler.description["kind"]) == (2, "average-velocity")
    images = sampler(SampleNoise([1], (1, 4, 4)), torch.tensor([0]))
    assert images.shape == (1, 1, 4, 4)
    assert images.dtype == torch.float32


def test_guidance_requires_a_null_condition() -> None:
    with pytest.raises(UserError, match="null condition"):
        build(guidance_scale=2.0)


def test_the_constant_of_no_weight_is_idle() -> None:
    assert MeanFlowRecipe(loss_power=0).idle()["loss_constant"] == "loss_power is 0"
    assert "loss_constant" not in MeanFlowRecipe().idle()


@pytest.mark.parametrize("task", ["digits", "fashion", "scenes", "scenes-flow"])
def test_micro_tasks_have_recipes(task: str) -> None:
    recipe = METHODS.get("meanflow-4step").recipe(task, "micro", {})
    assert isinstance(recipe, MeanFlowRecipe)
    assert (recipe.student_steps, recipe.batch_size) == (4, 32)
