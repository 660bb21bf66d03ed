"""Reflow and its distillation: straight lines in every schedule's terms, the velocity loss, the sampler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gaussian_data import MEAN, STD, each_schedule
from tiny_task_context import BATCH, PAIRS, make_batch, make_context, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.denoiser import WrappedDenoiser
from bench.models.samplers import SampleNoise, few_step_ode
from bench.models.schedules import EDMSchedule, NoiseSchedule, per_sample
from bench.runs.registry import load_catalogue
from bench.training.distiller import Pairs
from bench.training.passes import PassCounter
from methods.losses import denoising_loss
from methods.rectified import Rectified, RectifiedRecipe, flow_indices, straight_point

METHOD = load_catalogue().methods.get("rectified")
SMALL: dict[str, Any] = {"batch_size": BATCH, "pairs": len(PAIRS.noise), "iterations": 4, "warmup": 0, "lr": 1e-4}
FLOW_TIMES = torch.tensor([0.05, 0.3, 0.5, 0.9], dtype=torch.float64)


def make(**values: Any) -> Rectified:
    recipe = METHOD.recipe("tiny", "paper", {**SMALL, **values})
    assert isinstance(recipe, RectifiedRecipe)
    return Rectified(recipe, make_context())


def pairs() -> Pairs:
    """Return four pairs in float64."""
    z, y = torch.randn(2, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Pairs(z, y, torch.arange(4))


class CoupledDenoiser(WrappedDenoiser):
    """The optimal student for pairs y = MEAN + STD z: at a point of a line it solves for z, and so knows y."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        torch.nn.Module.__init__(self)
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        alpha, sigma = (per_sample(of(t), x_t) for of in (self.schedule.alpha, self.schedule.sigma))
        return MEAN + STD * (x_t - alpha * MEAN) / (alpha * STD + sigma)


@each_schedule
class TestReflow:
    def test_points_are_on_the_straight_line_up_to_the_schedules_scale(self, schedule: NoiseSchedule) -> None:
        some, u = pairs(), per_sample(FLOW_TIMES, pairs().noise)
        x_t, t, condition = straight_point(some, FLOW_TIMES, schedule)
        scale = per_sample(schedule.alpha(t) + schedule.sigma(t), x_t)
        torch.testing.assert_close(x_t / scale, (1 - u) * some.image + u * some.noise, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(schedule.flow_time(t), FLOW_TIMES, rtol=1e-3, atol=1e-5)
        assert torch.equal(condition, some.condition)

    def test_the_loss_is_the_squared_error_of_the_velocity(self, schedule: NoiseSchedule) -> None:
        """A network's velocity at z_u = (1 - u) y + u z is (z_u - x0) / u, and it regresses z - y."""
        some, u = pairs(), per_sample(FLOW_TIMES, pairs().noise)
        x0 = some.image + 0.1 * some.noise.roll(1, 0)
        z_u = (1 - u) * some.image + u * some.noise
        expected = ((z_u - x0) / u - (some.noise - some.image)).square().mean()
        torch.testing.assert_close(denoising_loss(x0, some.image, FLOW_TIMES**-2), expected)
        assert schedule.time_at(FLOW_TIMES / (1 - FLOW_TIMES)).diff().min() > 0

    def test_euler_follows_straight_lines_to_the_pairs_image_in_any_number_of_steps(
        self, schedule: NoiseSchedule
    ) -> None:
        """One step and four end in the same image, y = MEAN + STD z, which is the fixed point of reflow.

        A line starts in noise alone, where EDM's last level, 80, and the last times of VP still have a little of
        the image; the student's error there is that of the start.
        """
        student, noise = CoupledDenoiser(schedule), [SampleNoise([1, 2], (1, 4, 4)) for _ in range(3)]
        z = noise[2].draw()
        one, four = (
            few_step_ode(student, own, torch.zeros(2), flow_indices(schedule, steps, 1.0))
            for own, steps in zip(noise, (1, 4), strict=False)
        )
        torch.testing.assert_close(four, one, rtol=1e-3, atol=1e-3)
        alpha, sigma = (float(of(schedule.grid[-1:])) for of in (schedule.alpha, schedule.sigma))
        start = schedule.prior(z) / sigma  # VP's prior has a scale of its own
        exact = MEAN + STD * (start * sigma - alpha * MEAN) / (alpha * STD + sigma)
        torch.testing.assert_close(one, exact, rtol=1e-5, atol=1e-5)

    def test_steps_are_evenly_spaced_in_the_flows_time(self, schedule: NoiseSchedule) -> None:
        indices = flow_indices(schedule, 4, 1.0)
        found = schedule.flow_time(schedule.grid[indices])
        assert indices[0] == 999
        torch.testing.assert_close(
            found, found[0] * torch.tensor([1, 0.75, 0.5, 0.25]).double(), rtol=0, atol=3e-3
        )


def test_edms_steps_are_at_the_levels_of_flow_times() -> None:
    """Flow times near 1, 3/4, 1/2 and 1/4 are the levels 80, 2.9, .98 and .33 (80 is flow time 80/81)."""
    levels = EDMSchedule().grid[flow_indices(EDMSchedule(), 4, 1.0)]
    torch.testing.assert_close(levels, torch.tensor([80, 2.857, 0.9756, 0.3279]).double(), rtol=5e-3, atol=0)


def test_more_steps_than_the_grid_has_places_for_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"900 steps .* do not fit on the noise grid; fix: --set student_steps=450"
    ):
        flow_indices(EDMSchedule(), 900, 1.0)


def test_reflow_draws_flow_times_up_to_the_first_steps() -> None:
    method = make()
    u = method.flow_times(make_batch(), 5000)
    assert u.min() > 0 and u.max() <= 80 / 81
    assert u.mean().item() == pytest.approx(40 / 81, abs=0.02)


def test_distillation_starts_from_pure_noise_and_from_points_of_the_lines() -> None:
    """At later steps the student sees the pair's image; at the first, as the sampler, the noise alone."""
    method = make(student_steps=4)
    some = PAIRS.at(torch.arange(BATCH), "cpu")
    x_t, t, _ = method.step_input(some, make_batch(1))
    first = t == 80
    assert 0 < first.sum() < BATCH
    assert torch.equal(x_t[first], 80 * some.noise[first])
    mixed = some.image + per_sample(t, x_t) * some.noise
    torch.testing.assert_close(x_t[~first], mixed[~first])


def test_the_last_share_of_the_iterations_distils() -> None:
    assert [make(iterations=10).recipe.distils(iteration) for iteration in (0, 4, 5, 9)] == [
        False,
        False,
        True,
        True,
    ]
    assert not any(make(distillation_share=0.0).recipe.distils(iteration) for iteration in range(4))
    assert all(make(distillation_share=1.0).recipe.distils(iteration) for iteration in range(4))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_both_losses_train_the_student_alone_and_cost_one_pass(share: float) -> None:
    method = make(distillation_share=share)
    teacher, counter = weights(method.teacher), PassCounter(method)
    for iteration in range(4):
        figures = method.training_step(make_batch(iteration))
    assert figures["loss/rectified"].isfinite() and list(method.models) == ["generator"]
    assert same(teacher, method.teacher) and not same(teacher, method.generator.network)
    assert counter.counts == {"student": (4 * BATCH, 4 * BATCH)}
    assert method.recipe.cost().passes == {"student": (4, 4)}


def test_the_student_is_sampled_along_its_flow() -> None:
    method = make(student_steps=4)
    sampler = Rectified.sampler(method.recipe, method.teacher)
    assert sampler.description["kind"] == "few-step-ode"
    assert sampler.description["grid_indices"] == method.indices == flow_indices(EDMSchedule(), 4, 1.0)


def test_without_distillation_its_distance_has_no_effect() -> None:
    assert "regression_distance" in make(distillation_share=0.0).recipe.idle()
    assert "regression_distance" not in make().recipe.idle()
