"""Students that follow the teacher's ODE start at so much noise that pure noise looks like a noised image."""

from __future__ import annotations

import pytest
import torch
from gaussian_data import MEAN, STD, denoised
from torch import Tensor

from bench.models.grid import student_indices
from bench.models.schedules import EDMSchedule, NoiseSchedule
from bench.runs.registry import load_catalogue
from bench.training.context import Noised
from bench.training.simulation import heun_step
from tasks.digits.task import TASK as DIGITS
from tasks.fashion.task import TASK as FASHION
from tasks.fashion.task import TASK_FLOW as FASHION_FLOW
from tasks.micro.teacher import build_denoiser
from tasks.scenes.task import TASK as SCENES
from tasks.scenes.task import TASK_FLOW as SCENES_FLOW
from tasks.scenes.teacher import build_painter

METHODS = load_catalogue().methods
FOLLOWERS = ("consistency", "scm", "meanflow", "progressive", "rectified")


def schedule_of(task: str) -> NoiseSchedule:
    for micro in (DIGITS, FASHION, FASHION_FLOW):
        if micro.name == task:
            return build_denoiser(micro.network, micro.image_shape, len(micro.class_names)).schedule
    scenes = SCENES if task == SCENES.name else SCENES_FLOW
    return build_painter(scenes.network, scenes.image_shape).denoiser.schedule


@pytest.mark.parametrize(("level", "lost"), [(0.5, 0.6247), (2.5, 0.1580), (80.0, 0.0050)])
def test_from_pure_noise_the_ode_loses_a_share_of_the_mean(level: float, lost: float) -> None:
    """It leads from x to m + (x - m) s / sqrt(s^2 + l^2); noise without the mean m ends that share short of it."""
    schedule = EDMSchedule()

    def teacher(x: Tensor, t: Tensor, _: Tensor) -> Tensor:
        return denoised(x, t, schedule)

    noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.logspace(0, -5, 400, dtype=torch.float64) * level
    point = Noised(level * noise, times[:1].expand(4), torch.zeros(4))
    for time in times[1:]:
        point = heun_step(teacher, schedule, point, time.expand(4))
    share = STD / (STD**2 + level**2) ** 0.5
    assert share == pytest.approx(lost, rel=2e-4)
    torch.testing.assert_close(point.x_t, MEAN + share * (level * noise - MEAN), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("task", ["digits", "fashion", "fashion-flow", "scenes", "scenes-flow"])
@pytest.mark.parametrize("method", FOLLOWERS)
def test_recipes_start_where_the_noise_is_forty_times_the_image(method: str, task: str) -> None:
    """A whole image's mean is many pixels of signal: at 2.5 times, the teacher of fashion has an FD of 86."""
    schedule, recipe = schedule_of(task), METHODS.get(method).recipe(task, "micro", {})
    first = schedule.grid[student_indices(1, len(schedule.grid), recipe.student_start)]
    assert float(schedule.sigma(first)) > 40 * float(schedule.alpha(first))
