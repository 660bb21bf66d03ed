"""Noise schedules: the official grids, the loss weights, and the inverse that samplers need."""

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from bench.models.predictions import prediction_to_x0
from bench.models.schedules import (
    EDMSchedule,
    FlowSchedule,
    NoiseSchedule,
    VPSchedule,
    dynamic_shift,
    karras_levels,
    per_sample,
    shifted,
)

EDM_GRID = {  # grid index -> sigma, from DMD2's ImageNet runs
    0: 0.002,
    20: 0.003232,
    100: 0.01675,
    250: 0.1703,
    500: 2.5265,
    750: 17.617,
    980: 72.054,
    999: 80.0,
}
VP_ALPHA_BAR = {  # t -> alpha_t^2, from Stable Diffusion's scheduler
    0: 0.99915,
    20: 0.98131,
    249: 0.67543,
    399: 0.42609,
    499: 0.27767,
    749: 0.05662,
    980: 0.005844,
    999: 0.0046601,
}


@pytest.fixture(scope="module")
def scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule as diffusers has it."""
    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


@pytest.mark.parametrize(("index", "sigma"), EDM_GRID.items())
def test_edm_grid_has_the_official_values(index: int, sigma: float) -> None:
    assert EDMSchedule().grid[index].item() == pytest.approx(sigma, rel=3e-4)


def test_edm_time_is_sigma_and_the_signal_is_not_scaled() -> None:
    schedule = EDMSchedule()
    assert torch.equal(schedule.sigma(schedule.grid), schedule.grid)
    assert torch.equal(schedule.alpha(schedule.grid), torch.ones(1000, dtype=torch.float64))
    assert schedule.time_range() == pytest.approx((0.002, 80.0))


@pytest.mark.parametrize("sigma_data", [0.5, 0.75])
def test_edm_denoising_weight(sigma_data: float) -> None:
    schedule = EDMSchedule(sigma_data)
    sigma = schedule.grid
    expected = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    torch.testing.assert_close(schedule.denoising_weight(sigma), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_karras_levels_are_evenly_spaced_in_the_seventh_root(steps: int) -> None:
    levels = karras_levels(steps, 0.002, 80.0)
    assert len(levels) == steps
    assert levels[0].item() == pytest.approx(80.0)
    if steps > 1:
        assert levels[-1].item() == pytest.approx(0.002)
        gaps = (levels ** (1 / 7)).diff()
        torch.testing.assert_close(gaps, gaps[:1].expand(steps - 1))


@pytest.mark.parametrize(("t", "alpha_bar"), VP_ALPHA_BAR.items())
def test_vp_alpha_bar_has_the_official_values(t: int, alpha_bar: float) -> None:
    alpha = VPSchedule().alpha(torch.tensor([t]))
    assert alpha.item() ** 2 == pytest.approx(alpha_bar, rel=1e-4)


def test_vp_is_the_schedule_of_diffusers(scheduler: DDIMScheduler) -> None:
    schedule = VPSchedule()
    signal = schedule.alpha(schedule.grid) ** 2
    torch.testing.assert_close(signal, scheduler.alphas_cumprod.double(), rtol=2e-5, atol=0)
    torch.testing.assert_close(signal + schedule.sigma(schedule.grid) ** 2, torch.ones(1000, dtype=torch.float64))


def test_vp_add_noise_is_that_of_diffusers(scheduler: DDIMScheduler) -> None:
    x, eps = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
    t = torch.tensor([0, 20, 399, 500, 980, 999])
    torch.testing.assert_close(VPSchedule().add_noise(x, eps, t), scheduler.add_noise(x, eps, t))


def test_vp_is_continuous_between_the_integers() -> None:
    schedule = VPSchedule()
    low, between, high = schedule.alpha(torch.tensor([400.0, 400.5, 401.0])).log().tolist()
    assert between == pytest.approx((low + high) / 2)


def test_add_noise_scales_each_sample_by_its_own_time_and_keeps_the_dtype() -> None:
    x, eps = torch.full((2, 1, 2, 2), 3.0), torch.ones(2, 1, 2, 2)
    noisy = EDMSchedule().add_noise(x, eps, torch.tensor([0.5, 80.0], dtype=torch.float64))
    assert noisy.dtype == torch.float32
    assert noisy[:, 0, 0, 0].tolist() == [3.5, 83.0]


def test_prior_is_sigma_max_noise_for_edm_and_plain_noise_for_vp() -> None:
    eps = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(EDMSchedule().prior(eps), 80 * eps)
    assert torch.equal(VPSchedule().prior(eps), eps)


def test_prior_at_an_earlier_time_is_noise_of_that_level_for_edm_and_still_plain_for_vp() -> None:
    eps = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([2.5, 0.3])
    torch.testing.assert_close(EDMSchedule().prior(eps, levels), torch.stack([2.5 * eps[0], 0.3 * eps[1]]))
    assert torch.equal(VPSchedule().prior(eps, torch.tensor([399.0, 399.0])), eps)


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule(), FlowSchedule()], ids=["edm", "vp", "flow"])
def test_noise_added_in_two_parts_is_that_of_one(schedule: NoiseSchedule) -> None:
    """Adding noise to x_s, of signal alpha_s and noise sigma_s, leaves signal alpha_t and noise sigma_t."""
    s, t = schedule.grid[[0, 300, 700, 900]], schedule.grid[[500, 800, 999, 900]]
    ratio, noise = schedule.noise_between(s, t)
    torch.testing.assert_close(ratio * schedule.alpha(s), schedule.alpha(t))
    torch.testing.assert_close(((ratio * schedule.sigma(s)) ** 2 + noise**2).sqrt(), schedule.sigma(t))
    assert noise[-1] == 0 and (noise[:-1] > 0).all()


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule(), FlowSchedule()], ids=["edm", "vp", "flow"])
def test_an_ode_point_keeps_the_image_and_the_noise(schedule: NoiseSchedule) -> None:
    x0, eps = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t, s = schedule.grid[[999, 600, 300]], schedule.grid[[700, 10, 0]]
    found = schedule.ode_point(schedule.add_noise(x0, eps, t), x0, t, s)
    torch.testing.assert_close(found, schedule.add_noise(x0, eps, s))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_vp_denoising_weight_turns_an_x0_error_into_the_network_s_own_loss(prediction: str) -> None:
    schedule = VPSchedule(prediction)
    generator = torch.Generator().manual_seed(0)
    x, eps, error = torch.randn(3, 1000, 2, dtype=torch.float64, generator=generator).unbind(0)
    t = schedule.grid
    alpha, sigma = per_sample(schedule.alpha(t), x), per_sample(schedule.sigma(t), x)
    target = eps if prediction == "epsilon" else alpha * eps - sigma * x
    x0 = prediction_to_x0(schedule.add_noise(x, eps, t), target + error, t, schedule, schedule.prediction)
    weighted = per_sample(schedule.denoising_weight(t), x) * (x0 - x) ** 2
    torch.testing.assert_close(weighted, error**2, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule()], ids=["edm", "vp"])
def test_time_at_inverts_the_noise_level(schedule: NoiseSchedule) -> None:
    t = torch.cat([schedule.grid, schedule.grid[:-1].lerp(schedule.grid[1:], 0.3)])
    found = schedule.time_at(schedule.sigma(t) / schedule.alpha(t))
    torch.testing.assert_close(found, t, rtol=1e-9, atol=1e-8)


def test_vp_time_at_stays_on_the_grid() -> None:
    assert VPSchedule().time_at(torch.tensor([1e-6, 1e6])).tolist() == [0.0, 999.0]


def test_a_shift_multiplies_the_noise_level_and_keeps_the_ends() -> None:
    plain, moved = FlowSchedule(), FlowSchedule(shift=3.0)
    levels = [one.grid[:-1] / (1 - one.grid[:-1]) for one in (plain, moved)]
    torch.testing.assert_close(levels[1], 3 * levels[0])
    assert moved.grid[-1] == 1
    torch.testing.assert_close(shifted(shifted(plain.grid, 5.0), 0.2), plain.grid)


def test_the_static_and_the_dynamic_shift_are_those_of_diffusers() -> None:
    given = {"num_train_timesteps": 1000, "shift": 3.0}
    static = FlowMatchEulerDiscreteScheduler(**given)
    torch.testing.assert_close(FlowSchedule(3.0).grid.flip(0).float(), static.sigmas)
    dynamic = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    plain = (torch.arange(8, 0, -1) / 8).double()
    mu = calculate_shift(1024)
    dynamic.set_timesteps(sigmas=plain.tolist(), mu=mu)
    torch.testing.assert_close(shifted(plain, dynamic_shift(1024)).float(), dynamic.sigmas[:-1])


def test_a_grid_takes_the_exact_times_of_a_published_student() -> None:
    schedule = FlowSchedule(shift=3.0)
    changed, indices = schedule.with_times([1.0, 0.78270801, 0.003])
    assert indices == [999, 545, 0]
    assert changed.grid[indices].tolist() == [1.0, 0.78270801, 0.003]
    assert (changed.grid.diff() > 0).all()
    assert (changed.grid != schedule.grid).sum() == 2, "time 1 was there, and the schedule itself is as before"
    assert changed.shift == 3.0


@pytest.mark.parametrize("times", [[1.1], [0.0], [0.5, 0.5001]])
def test_times_that_a_grid_cannot_take_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="are not times in"):
        FlowSchedule().with_times(times)
