"""Predictions turned into x0 against closed forms, and schedules whose last time holds no signal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.models.predictions import Prediction, prediction_to_x0
from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule, VPSchedule, per_sample

SCHEDULES: dict[str, NoiseSchedule] = {
    "sd": VPSchedule(),
    "sd-zero-snr": VPSchedule("v").with_alpha_bar(999, 0.0),
    "flow": FlowSchedule(),
    "edm": EDMSchedule(),
}
ZERO_AT_THE_END = ("sd-zero-snr", "flow")


def prediction_of(kind: Prediction, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a perfect network of this kind says."""
    return {"epsilon": eps, "v": alpha * eps - sigma * x, "velocity": eps - x}[kind]


@pytest.mark.parametrize("kind", ["epsilon", "v", "velocity"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_perfect_prediction_gives_back_the_image_wherever_there_is_signal(name: str, kind: Prediction) -> None:
    schedule = SCHEDULES[name]
    if kind == "v" and name in ("flow", "edm"):
        pytest.skip("v is defined where alpha^2 + sigma^2 = 1")
    x, eps = torch.randn(2, 1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(0)
    t = schedule.grid
    alpha, sigma = per_sample(schedule.alpha(t), x), per_sample(schedule.sigma(t), x)
    x_t = schedule.add_noise(x, eps, t)
    found = prediction_to_x0(x_t, prediction_of(kind, x, eps, alpha, sigma), t, schedule, kind)
    expected = x if kind != "epsilon" else torch.where(alpha == 0, torch.zeros_like(x), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ZERO_AT_THE_END)
def test_nothing_divides_by_the_zero_at_the_end(name: str) -> None:
    schedule = SCHEDULES[name]
    last = schedule.grid[-1:]
    assert schedule.alpha(last).tolist() == [0.0] and schedule.sigma(last).tolist() == [1.0]
    low, high = schedule.time_range()
    assert 0 < low < high < math.inf
    assert high == pytest.approx(float(schedule.sigma(schedule.grid[-2]) / schedule.alpha(schedule.grid[-2])))
    assert schedule.denoising_weight(schedule.grid).isfinite().all()
    x_t = torch.ones(1, 1, 1, 1, requires_grad=True)
    for kind in ("epsilon", "v", "velocity"):
        x0 = prediction_to_x0(x_t, torch.full((1, 1, 1, 1), 0.25), last, schedule, kind)
        (gradient,) = torch.autograd.grad(x0.sum(), x_t)
        assert x0.isfinite().all() and gradient.isfinite().all()
    assert torch.equal(schedule.add_noise(torch.ones(1, 1), torch.full((1, 1), 3.0), last), torch.tensor([[3.0]]))


@pytest.mark.parametrize("name", ZERO_AT_THE_END)
def test_times_are_found_from_noise_levels_up_to_infinity(name: str) -> None:
    schedule = SCHEDULES[name]
    levels = schedule.sigma(schedule.grid) / schedule.alpha(schedule.grid)
    assert levels[-1] == math.inf
    torch.testing.assert_close(schedule.time_at(levels), schedule.grid, rtol=1e-6, atol=1e-6)


def test_zero_terminal_snr_changes_the_last_time_alone() -> None:
    plain, zero = VPSchedule("v"), SCHEDULES["sd-zero-snr"]
    times = torch.cat([plain.grid[:-1], plain.grid[:-2] + 0.5])
    assert torch.equal(zero.alpha(times), plain.alpha(times))
    assert torch.equal(zero.sigma(times), plain.sigma(times))


def test_the_flow_is_a_straight_line() -> None:
    schedule, t = FlowSchedule(), FlowSchedule().grid
    assert torch.equal(schedule.alpha(t) + schedule.sigma(t), torch.ones(1000, dtype=torch.float64))
    assert (t[0].item(), t[-1].item(), len(t)) == (0.001, 1.0, 1000)
    x, eps, error = torch.randn(3, 1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x0 = prediction_to_x0(schedule.add_noise(x, eps, t), eps - x + error, t, schedule, "velocity")
    weight = schedule.denoising_weight(t)[:, None]
    torch.testing.assert_close(weight * (x0 - x) ** 2, error**2, rtol=1e-8, atol=1e-10)
