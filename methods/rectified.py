"""Reflow of the teacher's pairs (Liu et al., 2022), then distillation of the same pairs (InstaFlow, 2023)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser
from bench.models.grid import grid_index
from bench.models.schedules import NoiseSchedule
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, Pairs, TrainingContext
from bench.training.recipe import Share
from bench.training.student_sampler import StudentSampler, ode_sampler
from methods.losses import denoising_loss
from methods.perceptual import distance_of
from methods.recipes import PairRecipe

FINEST = 1000
"""Number of flow times that reflow draws from, the smallest of which is 1/1000 of the first step's (official)."""


class RectifiedRecipe(PairRecipe):
    """The recipe of reflow and distillation. The defaults are the official CIFAR-10 configuration's."""

    iterations: int = Field(1_300_001, ge=1)
    batch_size: int = Field(128, ge=1)
    lr: float = Field(2e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(5000, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    pairs: int = Field(1_000_000, ge=1)
    """Teacher noise-image pairs. The authors recommend at least a million for CIFAR-10."""
    distillation_share: Share = 0.5
    """Last share of the iterations, in which the pairs are distilled into the student's steps; 0: reflow alone."""

    def cost(self) -> Cost:
        """Return the cost of a training: the student's passes alone, since pairs are made before it."""
        return replace(super().cost(), passes={"student": Passes(self.iterations, self.iterations)})

    def distils(self, iteration: int) -> bool:
        """Say whether an iteration belongs to the distillation."""
        return iteration >= self.iterations * (1 - self.distillation_share)

    def idle(self) -> dict[str, str]:
        keys = ("regression_distance", "lpips_weights", "lpips_pooling")
        off = {} if self.distillation_share else dict.fromkeys(keys, "distillation_share is 0")
        return super().idle() | off


class Rectified(Distiller[RectifiedRecipe]):
    """Rectified flow on teacher pairs: the student's ODE leads along the straight lines from noise to image."""

    recipe_model = RectifiedRecipe

    def __init__(self, recipe: RectifiedRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.indices = flow_indices(self.schedule, recipe.student_steps, recipe.student_start)
        self.add_student()
        self.distance = distance_of(recipe, context)
        self.pairs = context.make_pairs(recipe.pairs)

    @classmethod
    def sampler(cls, recipe: RectifiedRecipe, student: Denoiser) -> StudentSampler:
        """Return Euler's method along the flow. In x0 a step of it is a step of DDIM, whatever the schedule."""
        return ode_sampler(student, flow_indices(student.schedule, recipe.student_steps, recipe.student_start))

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration of reflow or, in the last ones, of distillation."""
        pairs = self.pairs.sample(batch)
        if self.recipe.distils(batch.iteration):
            point = self.step_input(pairs, batch)
            made = self.generator(*point)
            loss = self.distance(made, pairs.image)
        else:
            flow_time = self.flow_times(batch, len(pairs.noise))
            point = straight_point(pairs, flow_time, self.schedule)
            made = self.generator(*point)
            loss = denoising_loss(made, pairs.image, flow_time**-2)
        self.backward_and_step(self.generator, loss)
        return {"loss/rectified": loss.detach(), **self.statistics(made)}

    def flow_times(self, batch: Batch, count: int) -> Tensor:
        """Draw flow times [count], uniform up to that of the student's first step."""
        first = self.schedule.flow_time(self.step_times[:1])
        return first * (1 + batch.rng.integers(0, FINEST, count)) / FINEST

    def step_input(self, pairs: Pairs, batch: Batch) -> Noised:
        """Return the pairs' points at a step of the student drawn for each. At the first one it is pure noise."""
        step = batch.rng.integers(0, len(self.indices), len(pairs.noise))
        t = self.step_times[step]
        first = (step == 0).reshape(-1, *[1] * (pairs.noise.ndim - 1))
        pure, mixed = self.schedule.prior(pairs.noise, t), self.schedule.add_noise(pairs.image, pairs.noise, t)
        return Noised(torch.where(first, pure, mixed), t, pairs.condition)


def straight_point(pairs: Pairs, flow_time: Tensor, schedule: NoiseSchedule) -> Noised:
    """Return the points of the pairs' lines at flow times u [B], as the networks of a schedule see them.

    The flow's point (1 - u) y + u z has the noise level u / (1 - u). At the time of that level the point of the
    schedule is the same, times alpha + sigma. With z - y = (point - x0) / u the squared error of the velocity is
    one of x0 over u^2.
    """
    t = schedule.time_at(flow_time.double() / (1 - flow_time.double())).to(flow_time.dtype)
    return Noised(schedule.add_noise(pairs.image, pairs.noise, t), t, pairs.condition)


def flow_indices(schedule: NoiseSchedule, steps: int, start: float) -> list[int]:
    """Return the grid positions of steps that are evenly spaced in the flow's time, descending.

    Raises UserError if two steps would have the same position.
    """
    first = grid_index(start, len(schedule.grid))
    on_grid = schedule.flow_time(schedule.grid)
    wanted = on_grid[first] * (1 - torch.arange(steps) / steps)
    indices = [first, *(on_grid - wanted[1:, None]).abs().argmin(1).tolist()]
    if any(after >= before for before, after in pairwise(indices)):
        raise UserError(
            f"{steps} steps evenly spaced in the flow's time do not fit on the noise grid; "
            f"fix: --set student_steps={max(1, steps // 2)}"
        )
    return indices
