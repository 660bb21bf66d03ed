"""Consistency distillation (Song et al., 2023), with the guided teacher and skipped steps of LCM on text tasks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser, WrappedDenoiser
from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, TrainingContext
from bench.training.simulation import heun_step, ode_step
from bench.training.student_sampler import StudentSampler
from bench.training.trained_model import TargetNetwork
from methods.losses import huber_loss, regression_loss
from methods.perceptual import Distance, lpips_of
from methods.recipes import LPIPSRecipe

MOSTLY = 0.5
"""Share of the teacher in the target network at the end of training above which a note says so."""


class ConsistencyRecipe(LPIPSRecipe):
    """The recipe of consistency distillation. The defaults are the paper's ImageNet-64 run, without LPIPS."""

    lpips_switch = "distance"

    segments: int = Field(39, ge=1, le=999)
    """Segments of the noise grid up to the student's first step; the teacher's solver covers one. The paper's
    N = 40 times bound 39; LCM's skipping step k = 20 on a grid of 1,000 times is 50 segments."""
    solver: Literal["euler", "heun"] = "heun"
    """The teacher's ODE solver: Heun, with two evaluations, or Euler in the noise level, which is DDIM (LCM)."""
    target_decay: float = Field(0.95, ge=0, lt=1)
    """Decay of the target network; 0: the target is the student itself, without gradients."""
    distance: Literal["mse", "huber", "lpips"] = "mse"
    """Distance of the student's image to the target's: mean squared error, LCM's pseudo-Huber loss, or LPIPS on
    VGG16."""
    huber_c: float = Field(1e-3, gt=0)
    """Where the pseudo-Huber loss turns from a square into an absolute value."""
    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data in the boundary condition."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, 1 + w in LCM; 1: no guidance."""

    def cost(self) -> Cost:
        """Return the cost of a training. A guided evaluation of the teacher is two passes."""
        n = self.iterations
        evaluations = (2 if self.solver == "heun" else 1) * (1 if self.guidance_scale == 1 else 2)
        target = {"target": Passes(n, 0)} if self.target_decay else {}
        student = Passes(n if target else 2 * n, n)
        base = super().cost()
        passes = {"student": student, "teacher": Passes(n * evaluations, 0), **target}
        return replace(base, passes=passes, averages=base.averages + len(target))

    def unreached(self) -> dict[str, str]:
        found, of_teacher = super().unreached(), self.target_decay**self.iterations
        if of_teacher > MOSTLY:
            found["target_decay"] = f"the target is {of_teacher:.0%} teacher after {self.iterations} iterations"
        return found

    def idle(self) -> dict[str, str]:
        return super().idle() | ({} if self.distance == "huber" else {"huber_c": f"distance is {self.distance}"})


class Consistency(Distiller[ConsistencyRecipe]):
    """Consistency distillation (Song et al., 2023, Alg. 2): f(x_t, t) is the same along the teacher's ODE."""

    recipe_model = ConsistencyRecipe

    def __init__(self, recipe: ConsistencyRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        student = self.add_student()
        self.target: TargetNetwork | None = None
        if recipe.target_decay:
            copy = self.build_student(self.teacher)
            self.target = self.add_target("target", student, copy, recipe.target_decay)
        self.solved = self.guided_teacher(recipe.guidance_scale)
        self.distance = distance_of(recipe, context)
        segments, first = recipe.segments, self.indices[0]
        if segments > first:
            raise UserError(
                f"{segments} segments do not fit below position {first} of the noise grid, where the student "
                f"starts; fix: --set {f'segments={first}' if first else 'student_start=0.5'}"
            )
        self.boundaries = self.schedule.grid[torch.linspace(0, first, segments + 1).round().long()]
        """Times [N] of the ODE's discretisation, ascending: t_1 = epsilon, ..., t_N = T."""
        if recipe.solver == "heun" and self.schedule.alpha(self.boundaries[-1:]) == 0:
            raise UserError(
                "solver=heun cannot start where there is only noise (alpha is 0 at the student's first step); "
                "fix: --set solver=euler"
            )

    @classmethod
    def sampler(cls, recipe: ConsistencyRecipe, student: Denoiser) -> StudentSampler:
        """Return multistep consistency sampling (Alg. 1): few-step sampling with f."""
        sampler = super().sampler(recipe, ConsistencyFunction(student, recipe.sigma_data))
        return replace(sampler, description={**sampler.description, "sigma_data": recipe.sigma_data})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration on points that noised real images start from."""
        times = self.boundaries.to(batch.real.device, torch.float32)
        n = batch.rng.integers(0, self.recipe.segments, len(batch.real))
        x_t = self.schedule.add_noise(batch.real, batch.rng.normal(batch.real), times[n + 1])
        point = Noised(x_t, times[n + 1], batch.real_condition)
        with torch.no_grad():
            neighbour = self.solve(point, times[n])
            made = (self.target or self.generator)(*neighbour)
            target = self.f(made, neighbour)
        x0 = self.f(self.generator(*point), point)
        loss = self.distance(x0, target)
        self.backward_and_step(self.generator, loss)
        if self.target is not None:
            self.update_target(self.target)
        return {"loss/consistency": loss.detach(), **self.statistics(x0)}

    def solve(self, point: Noised, s: Tensor) -> Noised:
        """Follow the guided teacher's ODE to the times s [B] in one step of the solver (Eq. 6)."""
        step = heun_step if self.recipe.solver == "heun" else ode_step
        return step(self.solved, self.schedule, point, s)

    def f(self, x0: Tensor, point: Noised) -> Tensor:
        """Return the consistency function of a network's estimate x0 at a point."""
        return consistency_function(x0, point.x_t, point.t, self.schedule, self.recipe.sigma_data)


class ConsistencyFunction(WrappedDenoiser):
    """The consistency function of a student, for sampling."""

    def __init__(self, denoiser: Denoiser, sigma_data: float) -> None:
        super().__init__(denoiser)
        self.sigma_data = sigma_data

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x0 = self.denoiser(x_t, t, condition)
        return consistency_function(x0, x_t, t, self.schedule, self.sigma_data)


def consistency_function(x0: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, sigma_data: float) -> Tensor:
    """Return f = c_skip y + c_out F of the denoised x0 = D(x_t, t), x_t [B, ...], t [B] (Song et al., App. C).

    F is the network in EDM's form, D = c_skip' y + c_out' F, where y = x_t / alpha has the noise level l. EDM's D
    is y at level 0; f is y at epsilon, the smallest level of the grid, for its c_out is (1 - epsilon / l) c_out'.
    So f is nearly D: they differ by 1/1000 at l = 2 and epsilon = 0.002.
    """
    low = schedule.time_range()[0]
    alpha, sigma = (of(t.double()) for of in (schedule.alpha, schedule.sigma))
    scaled = alpha * sigma_data**2  # numerators and denominators are multiplied by alpha^2, which may be 0
    c_skip = scaled / ((sigma - alpha * low) ** 2 + alpha * scaled)
    c_skip_edm = scaled / (sigma**2 + alpha * scaled)
    return per_sample(c_skip, x_t) * x_t + per_sample(1 - low * alpha / sigma, x_t) * (
        x0 - per_sample(c_skip_edm, x_t) * x_t
    )


def distance_of(recipe: ConsistencyRecipe, context: TrainingContext) -> Distance:
    """Return the distance that a recipe names. Raises UserError if the weights of LPIPS are missing."""
    if recipe.distance == "lpips":
        return lpips_of(recipe, context)
    return regression_loss if recipe.distance == "mse" else partial(huber_loss, c=recipe.huber_c)
