"""DMD2 on a tiny Stable Diffusion 3 against its formulas in the network's own velocities, in float64.

With x_t = (1 - t) x + t eps, a velocity v estimates eps - x, and x_t - t v estimates x:

    guided teacher        v_real = v(null) + w (v(condition) - v(null))
    generator, DMD        (x_fake - x_real) / mean |x - x_real| at x, where x_fake - x_real = t (v_real - v_fake)
    generator, GAN        softplus(-D(x_t))
    critic, denoising     |v_fake - (eps - x)|^2, the network's own loss
    critic, GAN           softplus(D(fake_t)) + softplus(-D(real_t)), and R1 as (D(real_t) - D(real_t + s n))^2
    D                     a head on the tokens after the middle block
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from processes import in_processes
from tiny_flow_context import BATCH, LATENTS, LAYOUT, NULL, SHIFT, make_batch, make_context, make_teacher
from tiny_task_context import normal
from torch import Tensor, nn
from torch.nn import functional as F

from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch
from bench.training.step_rng import StepRNG
from methods.dmd import DMD

METHODS = load_catalogue().methods
TIMES = torch.tensor([SHIFT * k / (1000 + (SHIFT - 1) * k) for k in range(1, 1001)])
"""The grid: k / 1000, shifted."""
STEPS = [1.0, 0.9, 0.75, 0.5]
"""Times of a student of four steps: 1, .75, .5 and .25, shifted by 3."""


class DoubleRNG(StepRNG):
    """The same noise in float64, so that nothing is computed in float32."""

    def normal(self, like: Tensor) -> Tensor:
        return super().normal(like).double()


def double_batch(iteration: int, share: int = 0, shares: int = 1) -> Batch:
    made = make_batch(iteration, share=share, shares=shares)
    parts = (part.double() for part in (made.condition, made.real, made.real_condition))
    return Batch(iteration, DoubleRNG(0, iteration, share=share, shares=shares), *parts)


def make(name: str = "dmd2", **values: Any) -> DMD:
    """A method in float64, with networks as if training had begun; its gradients are not clipped."""
    own = {"batch_size": BATCH, "clip_norm": 1e9, "dm_weight": 0.7, "gan_generator_weight": 0.2}
    own |= {"gan_critic_weight": 0.5, "guidance_scale": 4.5}
    recipe = METHODS.get(name).recipe("", "paper", own | values)
    torch.manual_seed(0)
    method = DMD(recipe, make_context(make_teacher().double()))
    with torch.no_grad():
        for seed, model in enumerate(method.models.values()):
            for p in model.network.double().parameters():
                p += 0.05 * normal(seed, *p.shape)
    return method


class ByFormula:
    """The losses of one iteration from the formulas above, on copies of a method's networks."""

    def __init__(self, method: DMD, batch: Batch) -> None:
        self.recipe, self.batch = method.recipe, batch
        self.student = copy.deepcopy(method.generator.network.network)
        self.teacher = copy.deepcopy(method.teacher.network)
        self.critic = copy.deepcopy(method.critic.network)
        self.fake = self.critic.denoiser.network
        self.rng = DoubleRNG(0, batch.iteration)
        self.start = x_t, t = self.student_input()
        self.image = x_t - t * self.velocity(self.student, x_t, t, batch.condition)

    def velocity(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        embeddings, pooled = LAYOUT.unpack(condition)
        times = 1000 * t.expand(len(x_t), 1, 1, 1).flatten()
        found: Tensor = network(x_t, embeddings, pooled, timestep=times, return_dict=False)[0]
        return found

    @torch.no_grad()
    def student_input(self) -> tuple[Tensor, Tensor]:
        """Noise at t = 1, or the student's own image after some of its steps, noised for the next one."""
        noise, times = self.rng.normal(self.batch.real), torch.tensor(STEPS)
        step = self.rng.integer(0, 4) if self.recipe.student_steps == 4 else 0
        if step == 0:
            return noise, times[0]
        x_t = self.rng.normal(noise)
        for t, following in pairwise(times[: step + 1]):
            image = x_t - t * self.velocity(self.student, x_t, t, self.batch.condition)
            fresh = noise if following == times[step] else self.rng.normal(noise)
            x_t = (1 - following) * image + following * fresh
        return x_t, times[step]

    def noised(self, x: Tensor, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t, t and eps, of times from grid positions low ... high."""
        t = TIMES[self.rng.integers(low, high + 1, len(x))][:, None, None, None]
        eps = self.rng.normal(x)
        return (1 - t) * x + t * eps, t, eps

    def classify(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return logits from the tokens after the first of the two blocks."""
        network = self.teacher if self.recipe.discriminator_features == "teacher" else self.fake
        kept: list[Tensor] = []
        with network.transformer_blocks[0].register_forward_hook(lambda _, __, output: kept.append(output[1])):
            self.velocity(network, x_t, t, condition)
        side = LATENTS[1] // 2
        logits: Tensor = self.critic.heads[0](kept[0].mT.reshape(len(x_t), -1, side, side)).flatten()
        return logits

    def generator_loss(self) -> Tensor:
        recipe, condition, x = self.recipe, self.batch.condition, self.image.detach()
        x_t, t, _ = self.noised(x, 20, 980)
        with torch.no_grad():
            conditional = self.velocity(self.teacher, x_t, t, condition)
            null = self.velocity(self.teacher, x_t, t, NULL.double().expand_as(condition))
            v_real = null + recipe.guidance_scale * (conditional - null)
            v_fake = self.velocity(self.fake, x_t, t, condition)
            divisor = (x - (x_t - t * v_real)).abs().mean((1, 2, 3), keepdim=True)
            gradient = t * (v_real - v_fake) / divisor
        loss = recipe.dm_weight * (gradient * self.image).mean()
        if recipe.gan:
            x_t, t, _ = self.noised(self.image, 0, 999)
            loss = loss + recipe.gan_generator_weight * F.softplus(-self.classify(x_t, t, condition)).mean()
        return loss

    def critic_loss(self) -> Tensor:
        recipe, batch, x = self.recipe, self.batch, self.image.detach()
        x_t, t, eps = self.noised(x, 0, 999)
        loss = (self.velocity(self.fake, x_t, t, batch.condition) - (eps - x)).square().mean()
        if not recipe.gan:
            return loss
        real_t, t_real, eps_real = self.noised(batch.real, 0, 999)
        if recipe.gan_same_noise:
            fake_t, t_fake = (1 - t_real) * x + t_real * eps_real, t_real
        else:
            fake_t, t_fake, _ = self.noised(x, 0, 999)
        of_real = self.classify(real_t, t_real, batch.real_condition)
        of_fake = self.classify(fake_t, t_fake, batch.condition)
        gan = F.softplus(of_fake).mean() + F.softplus(-of_real).mean()
        if recipe.r1_weight:
            moved = self.classify(real_t + recipe.r1_noise * self.rng.normal(x), t_real, batch.real_condition)
            gan = gan + recipe.r1_weight * (of_real - moved).square().mean()
        return loss + recipe.gan_critic_weight * gan


def assert_gradients(network: nn.Module, loss: Tensor, copied: nn.Module) -> None:
    """The gradients that a network got equal those of a loss in a copy of it, to a millionth of the largest."""
    parameters = list(copied.parameters())
    expected = torch.autograd.grad(loss, parameters, allow_unused=True)
    largest = max(float(one.abs().max()) for one in expected if one is not None)
    assert largest > 1e-6
    for (name, p), one in zip(network.named_parameters(), expected, strict=True):
        assert (p.grad is None) == (one is None), name
        if one is not None:
            torch.testing.assert_close(
                p.grad, one, rtol=1e-6, atol=1e-6 * largest, msg=lambda m, n=name: f"{n}: {m}"
            )


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "official": ("dmd2", {}),
    "no GAN": ("dmd2-4step-no-gan", {}),
    "four steps": ("dmd2-4step", {}),
    "no guidance": ("dmd2", {"guidance_scale": 1.0}),
    "teacher's features": ("dmd2", {"discriminator_features": "teacher", "gan_same_noise": True}),
    "R1": ("dmd2", {"r1_weight": 3.0}),
}


@pytest.mark.usefixtures("kept_gradients")
@pytest.mark.parametrize(("name", "values"), FORMS.values(), ids=FORMS)
def test_gradients_are_those_of_the_formulas(name: str, values: dict[str, Any]) -> None:
    for iteration in (0, 5):  # both are the generator's turns
        method, batch = make(name, **values), double_batch(iteration)
        formulas = ByFormula(method, double_batch(iteration))
        figures = method.training_step(batch)
        generator, critic = formulas.generator_loss(), formulas.critic_loss()
        assert_gradients(method.generator.network, generator, formulas.student)
        assert_gradients(method.critic.network, critic, formulas.critic)
        assert figures["loss/denoising"].dtype == torch.float64


class TestBackwardSimulation:
    """Inputs of a student of four steps, on the grid that is shifted by 3."""

    def inputs(self, step: int) -> tuple[DMD, Batch]:
        """A method, and the first batch whose draw is this step."""
        for iteration in range(100):
            batch = double_batch(iteration)
            batch.rng.normal(batch.real)
            if batch.rng.integer(0, 4) == step:
                return make("dmd2-4step"), double_batch(iteration)
        raise AssertionError("no such iteration")

    def test_steps_are_at_the_times_of_the_stock_scheduler(self) -> None:
        stock = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
        stock.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
        torch.testing.assert_close(make("dmd2-4step").step_times, stock.sigmas[:-1])
        assert stock.sigmas[:-1].tolist() == pytest.approx(STEPS)

    def test_the_first_step_starts_from_noise_alone_at_time_1(self) -> None:
        method, batch = self.inputs(0)
        start = method.simulate(batch)
        assert start.t.tolist() == [1.0] * BATCH
        assert start.x_t.equal(DoubleRNG(0, batch.iteration).normal(batch.real))

    @pytest.mark.parametrize("step", range(4))
    def test_the_input_is_the_formula_s(self, step: int) -> None:
        method, batch = self.inputs(step)
        x_t, t = ByFormula(method, copy.deepcopy(batch)).start
        start = method.simulate(batch)
        torch.testing.assert_close(start.x_t, x_t, rtol=1e-6, atol=1e-6)
        assert start.t.tolist() == [pytest.approx(STEPS[step])] * BATCH == [pytest.approx(float(t))] * BATCH

    def test_two_processes_train_the_same_step_on_their_shares_of_one_batch(self) -> None:
        whole = [make("dmd2-4step").simulate(double_batch(iteration)) for iteration in range(6)]
        assert len({float(start.t[0]) for start in whole}) > 2

        def work() -> None:
            method = make("dmd2-4step")
            for iteration, expected in enumerate(whole):
                rank, processes = method.accelerator.process_index, method.accelerator.num_processes
                start = method.simulate(double_batch(iteration, rank, processes))
                for one, of_all in zip(start, expected, strict=True):
                    torch.testing.assert_close(one, of_all.chunk(processes)[rank], rtol=0, atol=1e-9)

        in_processes(2, work)
