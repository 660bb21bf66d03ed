"""Progressive distillation (Salimans & Ho, 2022): stages halve the steps, and each student teaches the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.core.transfers import constant_on
from bench.models.denoiser import Denoiser
from bench.models.grid import student_indices
from bench.models.schedules import per_sample
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, Recipe, TrainingContext
from bench.training.student_sampler import StudentSampler, ode_sampler
from bench.training.trained_model import TargetNetwork
from methods.losses import denoising_loss


class ProgressiveRecipe(Recipe):
    """The recipe of progressive distillation. The defaults are the official ImageNet-64 configuration's."""

    iterations: int = Field(450_000, ge=1)
    """Training iterations, divided equally among the stages: 50,000 each."""
    batch_size: int = Field(2048, ge=1)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    warmup: int = Field(0, ge=0)
    """Iterations of each stage over which learning rates rise linearly to their full values."""
    lr_decay: float = Field(1.0, ge=0, le=1)
    """Last fraction of each stage over which learning rates fall to 0 along a cosine, so that the student is calm
    when it becomes the teacher; 0: constant. The official fall is linear."""
    starting_steps: int = Field(512, ge=2)
    """DDIM steps of the first stage's teacher: the student's steps times a power of 2. The official 1,024 do not
    fit on a grid of 1,000 times."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the first teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""

    @property
    def stages(self) -> int:
        """Number of stages, each of which halves the steps."""
        return (self.starting_steps // self.student_steps).bit_length() - 1

    def stage(self, iteration: int) -> int:
        """Return the stage of an iteration, from 0."""
        return iteration * self.stages // self.iterations

    def start_of(self, stage: int) -> int:
        """Return the first iteration of a stage."""
        return -(-stage * self.iterations // self.stages)

    @property
    def least_span(self) -> int:
        return self.iterations // self.stages

    def rate_at(self, iteration: int) -> float:
        """Return the factor on all learning rates at an iteration. Each stage has a warm-up and a decay."""
        stage = self.stage(iteration)
        start, end = self.start_of(stage), self.start_of(stage + 1)
        return Recipe.rate_at(self.model_copy(update={"iterations": end - start}), iteration - start)

    def cost(self) -> Cost:
        """Return the cost of a training. The teacher works in the first stage, and the target after it."""
        first, guided = self.start_of(1), 1 if self.guidance_scale == 1 else 2
        base = super().cost()
        passes = {
            "student": Passes(self.iterations, self.iterations),
            "teacher": Passes(2 * guided * first, 0),
            "target": Passes(2 * (self.iterations - first), 0),
        }
        return replace(base, passes=passes, averages=base.averages + 1)

    @model_validator(mode="after")
    def _halvings_fit(self) -> Self:
        """Refuse steps that halving does not lead to, or that are closer than the grid's times."""
        steps = self.student_steps
        stride = (student_indices(steps, start=self.student_start)[0] + 1) // steps
        valid = [steps << halvings for halvings in range(1, stride.bit_length())]
        if self.starting_steps not in valid:
            raise ValueError(
                f"starting_steps {self.starting_steps} is not student_steps {steps} times a power of 2 that fits "
                f"on the noise grid: {', '.join(map(str, valid)) or 'none fits'}; fix: --set "
                + (
                    f"starting_steps={min(valid, key=lambda one: abs(one - self.starting_steps))}"
                    if valid
                    else "student_steps=4"
                )
            )
        if self.iterations < self.stages:
            raise ValueError(
                f"{self.iterations} iterations are fewer than the {self.stages} stages from {self.starting_steps} "
                f"to {self.student_steps} steps; fix: --set starting_steps={2 * self.student_steps}"
            )
        return self


class Progressive(Distiller[ProgressiveRecipe]):
    """Progressive distillation (Alg. 2): one step of the student equals two DDIM steps of its teacher."""

    recipe_model = ProgressiveRecipe

    def __init__(self, recipe: ProgressiveRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        student = self.add_student()
        # The last stage's student, which an update copies since the decay is 0. It starts as the teacher.
        self.target = self.add_target("target", student, self.build_student(self.teacher), decay=0.0)
        self.first_teacher = self.guided_teacher(recipe.guidance_scale)

    @classmethod
    def sampler(cls, recipe: ProgressiveRecipe, student: Denoiser) -> StudentSampler:
        """Return DDIM at the student's steps, which draws no noise after the first."""
        grid = len(student.schedule.grid)
        return ode_sampler(student, student_indices(recipe.student_steps, grid, recipe.student_start))

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration on noised real images, at the times of the stage's steps."""
        stage = self.recipe.stage(batch.iteration)
        knots = self.positions(stage).to(batch.real.device)
        step = 2 * batch.rng.integers(0, len(knots) // 2, len(batch.real))
        t = constant_on(self.schedule.grid, knots.device, torch.float32)[knots[step]]
        x_t = self.schedule.add_noise(batch.real, batch.rng.normal(batch.real), t)
        point = Noised(x_t, t, batch.real_condition)
        target = self.two_steps(self.target if stage else self.first_teacher, point, knots, step)
        made = self.generator(*point)
        loss = denoising_loss(made, target, self.truncated_snr(t))
        self.backward_and_step(self.generator, loss)
        following = batch.iteration + 1
        if following < self.recipe.iterations and self.recipe.stage(following) > stage:
            self.update_target(self.target)
        return {"loss/progressive": loss.detach(), **self.statistics(made)}

    def positions(self, stage: int) -> Tensor:
        """Return the positions [2N + 1] of the teacher's 2N steps, descending. The last, -1, is the clean image.

        Each of the final student's steps is divided into equal parts, so that the steps of all stages are nested.
        """
        parts = self.recipe.starting_steps // self.recipe.student_steps >> stage
        ends = torch.tensor([*self.indices, -1], dtype=torch.float64)
        inner = ends[:-1, None] + torch.arange(parts) / parts * (ends[1:] - ends[:-1])[:, None]
        return torch.cat([inner.flatten(), ends[-1:]]).round().long()

    @torch.no_grad()
    def two_steps(self, teacher: Denoiser | TargetNetwork, point: Noised, knots: Tensor, step: Tensor) -> Tensor:
        """Return the x0 with which one DDIM step from a point arrives where two of the teacher's do."""
        grid = constant_on(self.schedule.grid, knots.device)
        middle = grid[knots[step + 1]].to(torch.float32)
        x_t, t, condition = point
        first: Tensor = teacher(*point)
        second: Tensor = teacher(self.schedule.ode_point(x_t, first, t, middle), middle, condition)
        ratio = torch.cat([self.schedule.alpha(grid) / self.schedule.sigma(grid), grid.new_tensor([torch.inf])])
        return two_step_target(first, second, *(ratio[knots[step + ahead]] for ahead in range(3)))

    def truncated_snr(self, t: Tensor) -> Tensor:
        """Return the weight max(alpha^2 / sigma^2, 1) at times t [B] (Sec. 4)."""
        return (self.schedule.alpha(t) / self.schedule.sigma(t)).square().clamp(min=1)


def two_step_target(first: Tensor, second: Tensor, start: Tensor, middle: Tensor, end: Tensor) -> Tensor:
    """Return the image that stands for two DDIM steps with images `first` and `second`, [B, C, H, W].

    The paper's (z'' - q z) / (alpha'' - q alpha), q = sigma'' / sigma, is a mean of the two. Its weights follow
    from alpha / sigma [B] at the start, in the middle and at the end, where it is infinite for a clean image.
    """
    return torch.lerp(second, first, per_sample((middle - start) / (end - start), first))
