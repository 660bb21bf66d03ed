"""Velocity, noise and image of a flow, and other schedules as flows, against other libraries in float64.

Meta's flow-matching runs from noise at 0 to data at 1: its time is 1 - t, its velocity x - eps.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from bench.models.denoiser import Denoiser
from bench.models.predictions import prediction_to_x0
from bench.models.samplers import SampleNoise, few_step_ode
from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule, VPSchedule, per_sample

FLOW = FlowSchedule()
TIMES = torch.tensor([1.0, 0.999, 0.9, 0.5, 0.1, 0.001], dtype=torch.float64)
MEAN, STD = 0.3, 0.4


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal(found: Tensor, expected: Tensor, atol: float = 1e-12) -> None:
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.fixture
def point() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, noise, x_t and a velocity of no particular image, at TIMES."""
    x, eps, velocity = (numbers(seed, len(TIMES), 2, 3, 3) for seed in range(3))
    return x, eps, FLOW.add_noise(x, eps, TIMES), velocity


def velocity_of(x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """eps - x0, with the noise that x0 leaves in x_t."""
    return FLOW.noise_in(x_t, x0, t) - x0


def test_the_path_and_its_conversions_are_those_of_flow_matching(point: tuple[Tensor, ...]) -> None:
    path = pytest.importorskip("flow_matching.path").CondOTProbPath()
    x, eps, x_t, velocity = point
    their_times = 1 - TIMES
    sampled = path.sample(x_0=eps, x_1=x, t=their_times)
    equal(x_t, sampled.x_t)
    equal(eps - x, -sampled.dx_t)
    t = their_times.reshape(-1, 1, 1, 1)
    x0 = prediction_to_x0(x_t, velocity, TIMES, FLOW, "velocity")
    equal(x0, path.velocity_to_target(-velocity, x_t, t))
    equal(FLOW.noise_in(x_t, x0, TIMES), path.velocity_to_epsilon(-velocity, x_t, t))
    equal(FLOW.noise_in(x_t, x, TIMES), path.target_to_epsilon(x, x_t, t))
    equal(velocity_of(x_t, x, TIMES), -path.target_to_velocity(x, x_t, t))
    inner = TIMES < 1  # at time 1 an image does not follow from the noise: theirs divides by 0
    from_noise = prediction_to_x0(x_t[inner], eps[inner], TIMES[inner], FLOW, "epsilon")
    equal(from_noise, path.epsilon_to_target(eps[inner], x_t[inner], t[inner]), atol=1e-11)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_noised_images_x0_and_steps_are_those_of_diffusers(shift: float) -> None:
    solver = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, algorithm_type="dpmsolver++"
    )
    euler = FlowMatchEulerDiscreteScheduler(shift=shift)
    for scheduler in (solver, euler):
        scheduler.set_timesteps(8)
    x, eps, velocity = (numbers(seed, 2, 3, 4, 4) for seed in range(3))
    for step, (one, other) in enumerate(zip(solver.sigmas[:-1], euler.timesteps, strict=True)):
        solver._step_index = step
        t = one.double().expand(2)
        x0 = prediction_to_x0(x, velocity, t, FLOW, "velocity")
        equal(x0, solver.convert_model_output(velocity, sample=x))

        t, following = (euler.sigmas[at].double().expand(2) for at in (step, step + 1))
        equal(FLOW.add_noise(x, eps, t), euler.scale_noise(x, other[None], eps))
        moved = FLOW.ode_point(x, prediction_to_x0(x, velocity, t, FLOW, "velocity"), t, following)
        equal(moved, euler.step(velocity, other, x).prev_sample, atol=1e-6)  # theirs computes in float32


class Gaussian(Denoiser):
    """E[x | x_t] of images whose pixels are N(MEAN, STD^2)."""

    feature_shapes = ((1, 1, 1),)

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        alpha, sigma = (per_sample(of(t), x_t) for of in (self.schedule.alpha, self.schedule.sigma))
        return (alpha * STD**2 * x_t + sigma**2 * MEAN) / (alpha**2 * STD**2 + sigma**2)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def checkpoint_gradients(self) -> None:
        raise NotImplementedError("there is nothing to recompute")


class AsFlow(Gaussian):
    """A denoiser of another schedule as one of rectified flow, with a grid of the same noise levels."""

    def __init__(self, other: Denoiser) -> None:
        super().__init__(FlowSchedule())
        self.schedule.grid = other.schedule.flow_time(other.schedule.grid)
        self.other = other

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self.other(*self.other.schedule.from_flow(x_t, t), condition)
        return found


class DoubleNoise(SampleNoise):
    def draw(self) -> Tensor:
        return super().draw().double()


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule()], ids=["vp", "edm"])
class TestOtherSchedulesAsFlows:
    def test_points_of_equal_noise_level_lead_there_and_back(self, schedule: NoiseSchedule) -> None:
        """t = k / (1 + k) at noise level k, and x_flow = x_vp (1 - t) / alpha."""
        own, z = schedule.grid[[10, 400, 990]] + 1e-4, numbers(0, 3, 1, 2, 2)
        u = schedule.flow_time(own)
        x_t, t = schedule.from_flow(z, u)
        equal(t, own, atol=1e-6)
        level = schedule.sigma(own) / schedule.alpha(own)
        equal(u, level / (1 + level))
        torch.testing.assert_close(x_t * per_sample((1 - u) / schedule.alpha(t), z), z, rtol=1e-6, atol=0)

    def test_steps_of_the_ode_lead_to_the_same_images(self, schedule: NoiseSchedule) -> None:
        plain, flow, indices = Gaussian(schedule), AsFlow(Gaussian(schedule)), [900, 700, 400, 100]
        noise, condition = DoubleNoise([1, 2], (1, 4, 4)), torch.zeros(2)
        first = schedule.grid[indices[:1]].expand(2)
        scale = float((schedule.alpha(first) + schedule.sigma(first))[0])
        scale *= float(flow.schedule.grid[900] / schedule.prior(torch.ones(2, 1), first)[0])
        found = few_step_ode(flow, noise, condition, indices)
        again = DoubleNoise([1, 2], (1, 4, 4))
        drawn = scale * again.draw()  # a schedule's first input is its noise; both begin at the same point
        again.draw = lambda: drawn  # type: ignore[method-assign]
        equal(found, few_step_ode(plain, again, condition, indices), atol=1e-6)


def test_a_vp_denoisers_velocity_in_the_flow_is_that_of_flow_matching() -> None:
    schedulers = pytest.importorskip("flow_matching.path.scheduler")
    their_vp = schedulers.VPScheduler()

    class TheirVP(NoiseSchedule):
        """Their continuous VP schedule as one of ours, with times from data to noise."""

        def alpha(self, t: Tensor) -> Tensor:
            return their_vp(1 - t).alpha_t

        def sigma(self, t: Tensor) -> Tensor:
            return their_vp(1 - t).sigma_t

        def denoising_weight(self, t: Tensor) -> Tensor:
            raise NotImplementedError

        def time_at(self, noise_level: Tensor) -> Tensor:
            return 1 - their_vp.snr_inverse(1 / noise_level)

    denoiser, condition = Gaussian(TheirVP()), torch.zeros(4)

    class TheirVelocity(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            at = their_vp(t)
            x0 = denoiser(x, (1 - t).expand(len(x)), condition)
            eps = (x - at.alpha_t * x0) / at.sigma_t
            return at.d_alpha_t * x0 + at.d_sigma_t * eps

    moved = schedulers.ScheduleTransformedModel(TheirVelocity(), their_vp, schedulers.CondOTScheduler())
    z = numbers(0, 4, 1, 3, 3)
    for time in (0.9, 0.5, 0.1):
        u = torch.full((4,), time, dtype=torch.float64)
        velocity = (z - denoiser(*denoiser.schedule.from_flow(z, u), condition)) / time
        equal(velocity, -moved(x=z, t=1 - u[0]), atol=1e-9)
