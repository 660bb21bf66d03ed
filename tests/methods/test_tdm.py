"""Trajectory distribution matching: its segments, its losses on Gaussians whose scores are known, its steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from class_conditional_vp import VPDenoiser
from tiny_task_context import BATCH, make_batch, make_context, make_teacher, normal, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise, few_step_ode
from bench.models.schedules import EDMSchedule, FlowSchedule, VPSchedule, per_sample
from bench.training.distiller import Noised
from bench.training.recipe import build_recipe
from bench.training.step_rng import StepRNG
from methods.losses import distribution_matching_gradient, trajectory_matching_loss
from methods.tdm import TDM, Diffused, TDMRecipe, score_loss, x0_loss

EDM = EDMSchedule()
MEAN, STD = 0.3, 0.5
"""The data of the closed forms: pixels that are N(0.3, 0.5^2)."""


def recipe(**values: Any) -> TDMRecipe:
    found = build_recipe(
        TDMRecipe, {"batch_size": BATCH, "lr": 1e-3, "critic_lr": 5e-3, "warmup": 0, **values}, "tdm"
    )
    assert isinstance(found, TDMRecipe)
    return found


def tdm(teacher: Denoiser | None = None, **values: Any) -> TDM:
    return TDM(recipe(**values), make_context(teacher))


def double(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestSegments:
    """Four steps from position 0.899 of the grid: the segments are 899 ... 674 ... 449 ... 224 ... 0."""

    @pytest.mark.parametrize("mid_times", ["end", "random"])
    @pytest.mark.parametrize(("step", "end", "start"), [(0, 674, 899), (1, 449, 674), (2, 224, 449), (3, 0, 224)])
    def test_states_and_their_noise_stay_in_the_segment(
        self, mid_times: str, step: int, end: int, start: int
    ) -> None:
        method = tdm(mid_times=mid_times, least_noise=0.1)
        size, grid = 300, method.schedule.grid.float()
        steps, batch = torch.full((size,), step), make_batch(0, size)
        noised = Noised(normal(0, size, 1, 4, 4), grid[[start]].expand(size), batch.condition)
        found = method.diffused(normal(1, size, 1, 4, 4), noised, steps, batch)

        low, high = (torch.searchsorted(grid, times) for times in (found.s, found.at.t))
        if mid_times == "end":
            assert (low == end).all()
        assert low.min() >= end and low.max() < start
        assert (high >= low).all() and high.min() >= 100 and high.max() < start
        assert high.max() > start - 10  # the whole segment is used
        assert len(low.unique()) > 50 or mid_times == "end"

    def test_a_segment_starts_where_the_sampler_does(self) -> None:
        """The states before each step are those of `few_step_ode`, without new noise."""
        method, batch = tdm(), make_batch()
        starts = [method.segment_starts(make_batch(), torch.full((BATCH,), step)) for step in range(4)]
        first = StepRNG(seed=0, iteration=0).normal(batch.real)
        inputs: list[Tensor] = []
        student = method.generator.network
        assert isinstance(student, Denoiser)
        student.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))

        class Drawn(SampleNoise):
            def draw(self) -> Tensor:
                return first

        with torch.no_grad():
            few_step_ode(student, Drawn([], ()), batch.condition, method.indices)
        for step, (found, expected) in enumerate(zip(starts, inputs, strict=True)):
            torch.testing.assert_close(found.x_t, expected)
            assert found.t.tolist() == [method.step_times[step].item()] * BATCH

    def test_states_are_noised_as_the_forward_process_does(self) -> None:
        """Images x0 whose noise is normal keep alpha_t and sigma_t at every t, through both parts of the noise."""
        method = tdm()
        size, batch = 4000, make_batch(0, 4000)
        t = method.schedule.grid[[674]].float().expand(size)
        start = Noised(method.schedule.add_noise(torch.ones(size, 1, 4, 4), normal(0, size, 1, 4, 4), t), t, t)
        found = method.diffused(torch.ones(size, 1, 4, 4), start, torch.ones(size, dtype=torch.long), batch)
        normalised = (found.at.x_t - 1) / method.schedule.sigma(found.at.t).reshape(-1, 1, 1, 1)
        assert normalised.mean().item() == pytest.approx(0, abs=0.02)
        assert normalised.std().item() == pytest.approx(1, abs=0.01)


class TestLoss:
    x0, real, fake = double(0, 5, 1, 4, 4).requires_grad_(), double(1, 5, 1, 4, 4), double(2, 5, 1, 4, 4)

    def gradient(self, huber_c: float, fake: Tensor) -> Tensor:
        loss = trajectory_matching_loss(self.x0, self.real, fake, huber_c)
        return torch.autograd.grad(loss, self.x0)[0] * self.x0.numel()

    def test_without_huber_it_is_dmds(self) -> None:
        expected = distribution_matching_gradient(self.x0.detach(), self.real, self.fake)
        torch.testing.assert_close(self.gradient(0.0, self.fake), expected)

    @pytest.mark.parametrize("c", [1e-3, 0.1, 3.0])
    def test_pseudo_huber_limits_the_gradient(self, c: float) -> None:
        d = self.fake - self.real
        normaliser = (self.x0 - self.real).abs().mean((1, 2, 3), keepdim=True).detach()
        torch.testing.assert_close(self.gradient(c, self.fake), d / (d**2 + c**2).sqrt() / normaliser)

    @pytest.mark.parametrize("huber_c", [0.0, 1e-3])
    def test_it_vanishes_where_the_scores_agree(self, huber_c: float) -> None:
        assert self.gradient(huber_c, self.real.clone()).abs().max() < 1e-12


def states(end: float, t: float, count: int = 400_000) -> tuple[Tensor, Diffused]:
    """Return the x0 and the diffused states of a student that is exact at the end of its segment, from level 1.

    Its states at level s are N(MEAN, STD^2 + s^2) of one quantile z, as the probability-flow ODE has them. x0 is
    the image for which the step from x_1 leads to x_end.
    """
    z, eps = double(0, count, 1, 1, 1), double(1, count, 1, 1, 1)
    x_1, x_end = (MEAN + (STD**2 + s**2) ** 0.5 * z for s in (1.0, end))
    x0 = (x_end - end * x_1) / (1 - end)
    x_t = x_end + (t**2 - end**2) ** 0.5 * eps
    times = torch.full((count,), t, dtype=torch.float64)
    return x0, Diffused(Noised(x_t, times, times), torch.full_like(times, end), eps)


def best_linear(loss_of: Any, x0: Tensor, diffused: Diffused) -> tuple[float, float]:
    """Return slope and offset p, q of the denoiser p x_t + q with the least loss: Newton's step of a parabola."""

    def loss(p: Tensor, q: Tensor) -> Tensor:
        found: Tensor = loss_of(p * diffused.at.x_t + q, x0, diffused, EDM).mean()
        return found

    start = (torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64))
    gradient = torch.stack(torch.autograd.functional.jacobian(loss, start))
    hessian = torch.autograd.functional.hessian(loss, start)
    p, q = -torch.linalg.solve(torch.stack([torch.stack(row) for row in hessian]), gradient)
    return p.item(), q.item()


def exact(t: float) -> tuple[float, float]:
    """The teacher's denoiser of the data: (STD^2 x_t + t^2 MEAN) / (STD^2 + t^2)."""
    return STD**2 / (STD**2 + t**2), t**2 * MEAN / (STD**2 + t**2)


@pytest.mark.parametrize(("end", "t"), [(0.0, 0.5), (0.5, 0.6), (0.5, 0.9), (0.2, 0.9)])
def test_the_gradient_vanishes_for_a_student_that_matches_the_data(end: float, t: float) -> None:
    """The exact critic of its diffused states, fitted by `score_loss`, is then the teacher's."""
    assert best_linear(score_loss, *states(end, t)) == pytest.approx(exact(t), abs=0.01)


def test_the_demos_target_is_exact_only_on_the_last_segment() -> None:
    """Where a segment ends at noise, x0 is not independent of the student's own noise, and its fit is biased."""
    for loss in (x0_loss, score_loss):
        assert best_linear(loss, *states(0.0, 0.5)) == pytest.approx(exact(0.5), abs=0.01)
    biased = best_linear(x0_loss, *states(0.5, 0.6))[0]
    assert abs(biased - exact(0.6)[0]) > 0.05


def test_both_targets_are_one_where_the_state_is_a_clean_image() -> None:
    x0, diffused = states(0.0, 0.7, count=100)
    found = double(5, 100, 1, 1, 1)
    error = (found - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(x0_loss(found, x0, diffused, EDM), error)  # its importance weight is 1
    torch.testing.assert_close(score_loss(found, x0, diffused, EDM), error)


def test_importance_weights_are_ratios_of_normal_densities() -> None:
    x0, noise = double(0, 3, 1, 2, 2), double(1, 3, 1, 2, 2)
    x_t, t = double(2, 3, 1, 2, 2), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    diffused = Diffused(Noised(x_t, t, t), t / 2, noise)
    density = torch.distributions.Normal(0.0, 1.0)
    mixed = (x_t - x0) / t[:, None, None, None]
    ratio = (density.log_prob(mixed) - density.log_prob(noise)).flatten(1).mean(1).exp()
    torch.testing.assert_close(x0_loss(x0 + 1, x0, diffused, EDM), ratio)


def test_one_step_equals_the_formula() -> None:
    """With K = 1 the state is the image at the grid's first level: distribution matching at times of the grid."""
    method = tdm(student_steps=1, huber_c=0, critic_target="x0")
    student, critic = copy.deepcopy(method.generator.network), copy.deepcopy(method.critic.network)
    batch, rng, grid = make_batch(3), StepRNG(seed=0, iteration=3), EDM.grid.float()
    figures = method.training_step(batch)

    rng.integers(0, 1, BATCH)
    t_0 = grid[[899]].expand(BATCH)
    start = Noised(t_0[:, None, None, None] * rng.normal(batch.real), t_0, batch.condition)
    x0 = student(*start)

    def diffused() -> tuple[Noised, Tensor]:
        t = grid[20 + rng.integers(0, 2**31, BATCH) % 879]
        s = grid[0]
        x_s = x0.detach() + s * (start.x_t - x0.detach()) / t_0[:, None, None, None]
        noise = rng.normal(batch.real)
        return Noised(x_s + (t**2 - s**2).sqrt()[:, None, None, None] * noise, t, batch.condition), noise

    at, noise = diffused()
    mixed = (at.x_t - x0.detach()) / at.t[:, None, None, None]
    importance = ((noise**2 - mixed**2).flatten(1).mean(1) / 2).exp()
    error = (critic(*at) - x0.detach()).square().flatten(1).mean(1)
    loss = ((at.t**-2 + 4).clamp(max=5) * importance * error).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
    torch.optim.AdamW(critic.parameters(), lr=5e-3, betas=(0.0, 0.95), weight_decay=0.01).step()
    torch.testing.assert_close(figures["loss/denoising"], loss.detach())

    at, _ = diffused()
    with torch.no_grad():
        real, fake = method.teacher(*at), critic(*at)
    gradient = distribution_matching_gradient(x0.detach(), real, fake) / x0.numel()
    torch.testing.assert_close(figures["image_gradient/dm"], gradient.norm(), rtol=1e-3, atol=0)
    x0.backward(gradient)
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    torch.testing.assert_close(method.generator.gradient_norm, norm, rtol=1e-3, atol=0)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("critic_target", ["x0", "score"])
def test_student_and_critic_are_trained_and_nothing_else(steps: int, critic_target: str) -> None:
    method = tdm(student_steps=steps, critic_target=critic_target, mid_times="random")
    teacher, student, critic = (
        weights(one) for one in (method.teacher, method.generator.network, method.critic.network)
    )
    for iteration in range(2):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert same(teacher, method.teacher)
    assert not same(student, method.generator.network) and not same(critic, method.critic.network)


class FlowDenoiser(VPDenoiser):
    """A network that predicts the velocity of a straight path."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return x_t - per_sample(t, x_t) * self._network(x_t, 1000 * t, condition)


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [(VPDenoiser, VPSchedule()), (FlowDenoiser, FlowSchedule()), (FlowDenoiser, FlowSchedule(shift=3.0))],
)
@pytest.mark.parametrize("critic_target", ["x0", "score"])
def test_it_trains_under_every_schedule(kind: type[VPDenoiser], schedule: Any, critic_target: str) -> None:
    """The flow's first time has no signal."""
    method = tdm(kind(make_teacher().network, schedule), student_start=1.0, critic_target=critic_target)
    for iteration in range(2):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.isfinite() for figure in figures.values())


@pytest.mark.parametrize("values", [{}, {"student_steps": 1}, {"critic_target": "score"}])
def test_passes_are_those_that_training_steps_make(values: dict[str, Any]) -> None:
    own = recipe(iterations=2, **values)
    method = TDM(own, make_context())
    networks = {
        "student": method.generator.network,
        "teacher": method.teacher,
        "critic": method.critic.network,
    }
    forward, backward = dict.fromkeys(networks, 0), dict.fromkeys(networks, 0)
    for name, network in networks.items():

        def count(_module: object, _inputs: object, output: Tensor, name: str = name) -> None:
            forward[name] += 1
            backward[name] += output.requires_grad

        network.register_forward_hook(count)
    for iteration in range(own.iterations):
        method.training_step(make_batch(iteration))
    passes = own.cost().passes
    assert forward == {name: one.forward for name, one in passes.items()}
    assert backward == {name: one.backward for name, one in passes.items()}


def test_the_student_is_sampled_by_its_ode() -> None:
    sampler = TDM.sampler(recipe(), make_teacher())
    assert sampler.description["kind"] == "few-step-ode"
    assert (sampler.evaluations, sampler.description["grid_indices"]) == (4, [899, 674, 449, 224])


def test_an_empty_last_segment_is_refused() -> None:
    with pytest.raises(UserError, match=r"least_noise 0.3 is not below .* at 0.224 .*fix: --set least_noise=0.11"):
        recipe(least_noise=0.3)
    assert recipe(least_noise=0.3, student_steps=1).student_steps == 1


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ({"student_steps": 900}, {"student_steps": 40}),
        ({"student_start": 1e-4, "student_steps": 1}, {"student_start": 0.5}),
    ],
)
def test_a_last_step_at_the_grid_s_first_time_is_refused_with_a_fix_that_works(
    values: dict[str, Any], fix: dict[str, Any]
) -> None:
    """No least_noise is below it."""
    ((key, value),) = fix.items()
    with pytest.raises(UserError, match=f"at 0 of the grid, .*fix: --set {key}={value}$"):
        recipe(**values)
    assert recipe(**values | fix)
