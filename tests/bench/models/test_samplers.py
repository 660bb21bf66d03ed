"""Samplers against distributions whose exact denoiser is known, and noise that belongs to its sample."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise, few_step, few_step_ode, heun
from bench.models.schedules import EDMSchedule, NoiseSchedule, VPSchedule, per_sample
from tasks.micro.task import NetworkSpec
from tasks.micro.teacher import build_denoiser

MEAN, STD = 0.3, 0.5


class GaussianDenoiser(Denoiser):
    """The exact E[x | x_t] of images whose pixels are N(MEAN, STD^2): a weighted mean of x_t and MEAN."""

    feature_shapes = ((1, 1, 1),)

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.times: list[float] = []
        self.inputs: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        assert x_t.shape[:1] == t.shape == condition.shape
        self.times.append(t[0].item())
        self.inputs.append(x_t)
        alpha, sigma = per_sample(self.schedule.alpha(t), x_t), per_sample(self.schedule.sigma(t), x_t)
        signal = alpha**2 * STD**2
        return (alpha * STD**2 * x_t + sigma**2 * MEAN) / (signal + sigma**2)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def checkpoint_gradients(self) -> None:
        raise NotImplementedError("there is nothing to recompute")


class DoubleNoise(SampleNoise):
    """The same noise in float64, so that rounding does not hide the solver's own error."""

    def draw(self) -> Tensor:
        return super().draw().double()


SCHEDULES: dict[str, Callable[[], NoiseSchedule]] = {"edm": EDMSchedule, "vp": VPSchedule}


@pytest.fixture(params=SCHEDULES)
def gaussian(request: pytest.FixtureRequest) -> GaussianDenoiser:
    """The exact denoiser under each schedule."""
    return GaussianDenoiser(SCHEDULES[request.param]())


def noise_of(count: int, side: int = 4, kind: type[SampleNoise] = SampleNoise) -> SampleNoise:
    return kind(range(count), (1, side, side))


def no_condition(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


# Heun


def ode_at(level: float, y_T: Tensor, s_T: float) -> Tensor:
    """Solve the probability-flow ODE from y_T at s_T to `level`, exactly.

    With y = x_t / alpha_t at level s = sigma_t / alpha_t it is dy/ds = s (y - m) / (STD^2 + s^2), which
    keeps (y - m) / sqrt(STD^2 + s^2).
    """
    return MEAN + ((STD**2 + level**2) / (STD**2 + s_T**2)) ** 0.5 * (y_T - MEAN)


def distance_from_ode(denoiser: GaussianDenoiser, steps: int, last_step: bool) -> float:
    """Largest distance of Heun's image from the exact one.

    The last step, from the smallest level to 0, is one denoising: it adds level^2 / (2 STD^2) of y - m, which
    more steps do not lower (0.002 under VP, whose smallest level is 0.029). `last_step` counts it or not.
    """
    low, s_T = denoiser.schedule.time_range()
    y_T = s_T * noise_of(4, kind=DoubleNoise).draw()
    found = heun(denoiser, noise_of(4, kind=DoubleNoise), no_condition(4), steps)
    exact = ode_at(0.0, y_T, s_T)
    if not last_step:
        exact = MEAN + STD**2 / (STD**2 + low**2) * (ode_at(low, y_T, s_T) - MEAN)
    return (found - exact).abs().max().item()


def test_heun_ends_where_the_ode_does(gaussian: GaussianDenoiser) -> None:
    assert distance_from_ode(gaussian, 18, last_step=True) < 0.08
    assert distance_from_ode(gaussian, 128, last_step=True) < 0.002


def test_heun_is_of_second_order(gaussian: GaussianDenoiser) -> None:
    """Twice the steps, a quarter of the error."""
    errors = [distance_from_ode(gaussian, steps, last_step=False) for steps in (32, 64, 128)]
    assert [coarse / fine for coarse, fine in itertools.pairwise(errors)] == pytest.approx([4, 4], abs=0.6)


def test_heun_costs_two_evaluations_per_step_but_one_in_the_last(gaussian: GaussianDenoiser) -> None:
    heun(gaussian, noise_of(2), no_condition(2), 5)
    assert len(gaussian.times) == 2 * 5 - 1


def test_heun_visits_karras_levels_from_the_schedule_s_last_time_to_its_first(gaussian: GaussianDenoiser) -> None:
    heun(gaussian, noise_of(2), no_condition(2), 5)
    visited = gaussian.times
    assert visited[0] == pytest.approx(gaussian.schedule.grid[-1].item())
    assert visited[-1] == pytest.approx(gaussian.schedule.grid[0].item(), abs=1e-6)
    assert visited[1::2] == visited[2::2]  # each level twice: as the end of a step, then as a start


def test_heun_of_one_step_is_the_denoiser_at_pure_noise() -> None:
    denoiser = GaussianDenoiser(EDMSchedule())
    found = heun(denoiser, noise_of(3), no_condition(3), 1)
    expected = denoiser(80 * noise_of(3).draw(), torch.full((3,), 80.0), no_condition(3))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("churn", [5.0, 40.0])
def test_the_sde_sampler_gives_the_distribution(gaussian: GaussianDenoiser, churn: float) -> None:
    """Up to 0.005, what 96 steps leave, and five standard errors of 65,536 pixels."""
    every_level = (0.0, float("inf"))
    images = heun(gaussian, noise_of(16, 64), no_condition(16), 96, churn, every_level, churn_noise=1.0)
    assert images.mean().item() == pytest.approx(MEAN, abs=0.005 + 5 * STD / 65536**0.5)
    assert images.std().item() == pytest.approx(STD, abs=0.005 + 5 * STD / (2 * 65536) ** 0.5)


def test_churn_draws_new_noise_and_only_in_its_range(gaussian: GaussianDenoiser) -> None:
    ode = heun(gaussian, noise_of(2), no_condition(2), 8)
    sde = heun(gaussian, noise_of(2), no_condition(2), 8, churn=10)
    nowhere = heun(gaussian, noise_of(2), no_condition(2), 8, churn=10, churn_range=(1e3, 1e4))
    assert not torch.allclose(sde, ode, atol=1e-3)
    assert torch.equal(nowhere, ode)


def test_churn_never_goes_beyond_the_schedule(gaussian: GaussianDenoiser) -> None:
    """VP ends at level 14.6, inside the churn range: noise above it would meet a network that sees t = 999."""
    heun(gaussian, noise_of(4, 64), no_condition(4), 8, churn=40, churn_range=(0.0, float("inf")))
    last = gaussian.schedule.grid[-1:]
    alpha, sigma = gaussian.schedule.alpha(last).item(), gaussian.schedule.sigma(last).item()
    assert max(gaussian.times) == pytest.approx(last.item())
    assert gaussian.inputs[0].std().item() == pytest.approx((alpha**2 * STD**2 + sigma**2) ** 0.5, rel=0.03)


# Few steps


def test_one_step_is_the_denoiser_at_the_prior(gaussian: GaussianDenoiser) -> None:
    found = few_step(gaussian, noise_of(3), no_condition(3), [999])
    start = gaussian.schedule.prior(noise_of(3).draw())
    assert torch.equal(found, gaussian(start, gaussian.schedule.grid[-1:].expand(3), no_condition(3)))


def test_one_step_may_start_at_a_lower_level(gaussian: GaussianDenoiser) -> None:
    found = few_step(gaussian, noise_of(3), no_condition(3), [399])
    t = gaussian.schedule.grid[399].expand(3)
    assert torch.equal(found, gaussian(gaussian.schedule.prior(noise_of(3).draw(), t), t, no_condition(3)))


def test_few_steps_denoise_and_add_fresh_noise_in_the_order_given(gaussian: GaussianDenoiser) -> None:
    indices = [999, 749, 499, 249]
    found = few_step(gaussian, noise_of(3), no_condition(3), indices)
    schedule = gaussian.schedule
    assert gaussian.times == schedule.grid[indices].tolist()

    noise = noise_of(3)
    x_t = schedule.prior(noise.draw())
    for here, following in zip(indices, [*indices[1:], None], strict=True):
        x0 = gaussian(x_t, schedule.grid[here].expand(3), no_condition(3))
        if following is not None:
            x_t = schedule.add_noise(x0, noise.draw(), schedule.grid[following].expand(3))
    assert torch.equal(found, x0)


# Noise


def in_batches(size: int, count: int, make: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Make `count` samples in batches of `size` and join them."""
    return torch.cat([make(range(start, min(start + size, count))) for start in range(0, count, size)])


def test_many_steps_of_the_students_ode_end_where_it_does(gaussian: GaussianDenoiser) -> None:
    schedule = gaussian.schedule
    found = few_step_ode(gaussian, noise_of(2, kind=DoubleNoise), no_condition(2), list(range(900, 0, -1)))
    first = schedule.prior(noise_of(2, kind=DoubleNoise).draw(), schedule.grid[[900]]) / schedule.alpha(
        schedule.grid[[900]]
    )
    level = (schedule.sigma(schedule.grid[[900]]) / schedule.alpha(schedule.grid[[900]])).item()
    torch.testing.assert_close(found, ode_at(0.0, first, level), rtol=0, atol=0.03)


def test_the_students_ode_draws_no_noise_after_the_first(gaussian: GaussianDenoiser) -> None:
    noise, once = noise_of(2), noise_of(2)
    few_step_ode(gaussian, noise, no_condition(2), [900, 600, 300])
    once.draw()
    assert torch.equal(noise.draw(), once.draw())
    assert gaussian.times == gaussian.schedule.grid[[900, 600, 300]].tolist()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_noise_does_not_depend_on_the_batch(size: int) -> None:
    def two_draws(seeds: Sequence[int]) -> Tensor:
        noise = SampleNoise(seeds, (1, 2, 2))
        return torch.stack([noise.draw(), noise.draw()], dim=1)

    assert torch.equal(in_batches(size, 64, two_draws), two_draws(range(64)))


def test_noise_is_standard_normal_and_differs_between_samples_and_draws() -> None:
    noise = SampleNoise(range(64), (1, 16, 16))
    first, second = noise.draw(), noise.draw()
    assert first.shape == (64, 1, 16, 16)
    assert abs(first.mean().item()) < 5 / 128
    assert first.std().item() == pytest.approx(1, abs=0.03)
    assert len({tuple(image.flatten().tolist()) for image in torch.cat([first, second])}) == 128


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    noise_of(3).draw()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("sampler", ["few_step", "ode", "sde"])
def test_images_do_not_depend_on_the_batch(sampler: str) -> None:
    """A real network rounds differently at another batch size, no more than that."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build_denoiser(NetworkSpec((8,), 2, 0.5, attention_head_dim=8, norm_groups=4), (1, 8, 8), 3)

    @torch.no_grad()
    def make(seeds: Sequence[int]) -> Tensor:
        noise, condition = SampleNoise(seeds, (1, 8, 8)), torch.tensor(seeds) % 3
        if sampler == "few_step":
            return few_step(denoiser, noise, condition, [999, 749, 499, 249])
        return heun(denoiser, noise, condition, 3, churn=1.0 if sampler == "sde" else 0.0)

    whole = make(range(16))
    for size in (1, 7):
        torch.testing.assert_close(in_batches(size, 16, make), whole, rtol=1e-3, atol=1e-4)


def test_labels_are_drawn_after_the_first_noise_from_the_same_generator() -> None:
    """As EDM's generate.py: latent, label, then whatever the sampler draws."""
    seeds, shape = [5, 2**31, 7], (2, 3, 3)
    noise = SampleNoise(seeds, shape)
    labels, first, second = noise.labels(1000), noise.draw(), noise.draw()
    for i, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(first[i], torch.randn(shape, generator=generator))
        assert labels[i] == torch.randint(1000, (), generator=generator)
        assert torch.equal(second[i], torch.randn(shape, generator=generator))
