"""Multistep moment matching distillation (Salimans et al., 2024, arXiv 2406.04103, Algorithm 2) as a plug-in:

    bench run --plugin examples/moment_matching.py --method moment-matching --task digits

The student makes an image x of a noised one, z_t, and the posterior q(z_s | z_t, x) leads to a less noisy z_s.
In even iterations an auxiliary denoiser learns E[x | z_s] and is pulled to the teacher. In odd ones its difference
to the teacher is the student's gradient: where they agree, x has the mean of the data given z_s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise
from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, Recipe, TrainingContext
from bench.training.simulation import noised_real_inputs
from bench.training.student_sampler import StudentSampler


class MomentMatchingRecipe(Recipe):
    """The values of every recipe and those of this method."""

    auxiliary_lr: float = Field(2e-6, gt=0)
    """Learning rate of the auxiliary denoiser."""
    teacher_pull: float = Field(1.0, ge=0)
    """Weight of the auxiliary denoiser's distance to the teacher; 1 in the paper."""
    weight_limit: float = Field(5.0, gt=0)
    """Largest weight of both losses at a time s; below it they have the weight of the teacher's own loss."""

    def cost(self) -> Cost:
        """Return the cost of a training: even iterations train the auxiliary denoiser, odd ones the student."""
        every, odd = self.iterations, self.iterations // 2
        passes = {
            "student": Passes(every, odd),
            "teacher": Passes(every, 0),
            "auxiliary": Passes(every, every - odd),
        }
        return replace(super().cost(), passes=passes, generator_updates=odd, trained=2)


class MomentMatching(Distiller[MomentMatchingRecipe]):
    """Moment matching (Salimans et al., 2024): the student has the teacher's mean given z_s; four steps."""

    name = "moment-matching"
    recipe_model = MomentMatchingRecipe
    recipes: ClassVar = {
        "*": {"student_steps": 4},
        "micro": {
            "iterations": 3000,
            "batch_size": 32,
            "lr": 6e-4,
            "auxiliary_lr": 6e-4,
            "warmup": 50,
            "ema_decay": 0.98,
        },
    }

    def __init__(self, recipe: MomentMatchingRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        self.auxiliary = self.add_model("auxiliary", self.trainable_copy(self.teacher), recipe.auxiliary_lr)

    @classmethod
    def sampler(cls, recipe: MomentMatchingRecipe, student: Denoiser) -> StudentSampler:
        """Return the paper's sampler: the image of each step, then a draw of the posterior at the next time."""
        few = super().sampler(recipe, student)
        times: list[float] = few.description["times"]

        def sample(noise: SampleNoise, condition: Tensor) -> Tensor:
            eps = noise.draw()
            t = eps.new_full((len(eps),), times[0])
            x_t = student.schedule.prior(eps, t)
            for following in times[1:]:
                s = torch.full_like(t, following)
                x0 = student(x_t, t, condition)
                x_t, t = posterior(student.schedule, x_t, x0, t, s, noise.draw()), s
            images: Tensor = student(x_t, t, condition)
            return images

        return replace(few, sample=sample, description={**few.description, "kind": "posterior"})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        student_turn = batch.iteration % 2 == 1
        start = noised_real_inputs(self.schedule, self.step_times, batch)
        with torch.set_grad_enabled(student_turn):
            x0 = self.generator(*start)
        s = self.draw_earlier(start.t, batch)
        z_s = posterior(self.schedule, start.x_t, x0.detach(), start.t, s, batch.rng.normal(x0))
        state = Noised(z_s, s, start.condition)
        weight = self.schedule.denoising_weight(s).clamp(max=self.recipe.weight_limit)
        with torch.no_grad():
            taught = self.teacher(*state)
        if student_turn:
            with torch.no_grad():
                found = self.auxiliary(*state)
            loss = moment_loss(x0, found, taught, weight)
            self.backward_and_step(self.generator, loss)
            return {"loss/moment": loss.detach(), **self.statistics(x0)}
        denoising, pull = auxiliary_losses(self.auxiliary(*state), x0, taught, weight)
        self.backward_and_step(self.auxiliary, denoising + self.recipe.teacher_pull * pull)
        return {"loss/denoising": denoising.detach(), "loss/pull": pull.detach()}

    def draw_earlier(self, t: Tensor, batch: Batch) -> Tensor:
        """Draw times s [B], uniform on the noise grid between the next step's time and t [B], a step's time."""
        step = (t[:, None] == self.step_times).int().argmax(1)
        ends = torch.tensor([*self.indices, 0], device=t.device)
        low, high = ends[step + 1], ends[step]
        position = low + batch.rng.integers(0, 2**31, len(t)) % (high - low).clamp(min=1)
        return self.schedule.grid.to(t.device, torch.float32)[position]


def posterior(schedule: NoiseSchedule, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """Return a draw of q(z_s | z_t = x_t, x0) at less noisy times s [B], made with `noise`; all [B, C, H, W]."""
    ratio, added = schedule.noise_between(s, t)
    kept, share = ratio * (schedule.sigma(s) / schedule.sigma(t)) ** 2, (added / schedule.sigma(t)) ** 2
    mean = per_sample(kept, x_t) * x_t + per_sample(schedule.alpha(s) * share, x0) * x0
    return mean + per_sample(share.sqrt() * schedule.sigma(s), noise) * noise


def auxiliary_losses(found: Tensor, x0: Tensor, taught: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean squared distances to the student's image and the teacher's; weight [B]."""
    each = per_sample(weight, x0)
    return (each * (found - x0) ** 2).mean(), (each * (found - taught) ** 2).mean()


def moment_loss(x0: Tensor, found: Tensor, taught: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of w x0 (found - taught), whose gradient in x0 is w (found - taught) / numel; weight [B]."""
    return (per_sample(weight, x0) * x0 * (found - taught).detach()).mean()
