"""MeanFlow (Geng et al., 2025) as a distillation: a student of average velocities, from a teacher's velocity."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise
from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.distiller import Batch, Distiller, Noised, TrainedModel, TrainingContext
from bench.training.simulation import ode_step
from bench.training.student_sampler import StudentSampler
from methods.flow_maps import FlowMapRecipe, derivative_along, level_range, log_normal_levels


class MeanFlowRecipe(FlowMapRecipe):
    """The recipe of MeanFlow. The defaults are the authors' constants for ImageNet (their configuration files)."""

    proposal_mean: float = -0.4
    """Mean of the logit of the time t, which is the logarithm of the noise level t / (1 - t)."""
    proposal_std: float = Field(1.0, gt=0)
    """Standard deviation of the logit of the time."""
    instant_share: float = Field(0.75, ge=0, le=1)
    """Share of samples with r = t, which learn the teacher's own velocity."""
    loss_power: float = Field(1.0, ge=0)
    """The p of the adaptive weight 1 / (error + c)^p; 0: squared errors alone."""
    loss_constant: float = Field(0.01, gt=0)
    """The c of the adaptive weight."""

    def idle(self) -> dict[str, str]:
        return super().idle() | ({} if self.loss_power else {"loss_constant": "loss_power is 0"})


class MeanFlow(Distiller[MeanFlowRecipe]):
    """MeanFlow distillation (Geng et al., 2025, Alg. 1): the student learns the mean velocity from t to r.

    In rectified flow's coordinates z = (1 - t) x + t eps it is u(z, t, r) = (z_t - z_r) / (t - r). The velocity of
    the ODE, eps - x of a sample in the paper, is the teacher's here, under guidance if the recipe has it.
    """

    recipe_model = MeanFlowRecipe
    fresh_weights = ("interval.",)

    def __init__(self, recipe: MeanFlowRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        self.solved = self.guided_teacher(recipe.guidance_scale)
        self.levels = level_range(self.schedule, self.indices[0])

    def build_student(self, teacher: Denoiser) -> Denoiser:
        """Build a student that takes the interval t - r too; untrained, it is the teacher at any interval."""
        student = super().build_student(teacher)
        student.add_interval()
        return student

    @classmethod
    def sampler(cls, recipe: MeanFlowRecipe, student: Denoiser) -> StudentSampler:
        """Return the sampler that follows the ODE: a step of the average velocity from each time to the next."""
        few = super().sampler(recipe, student)
        times = few.description["times"]
        return replace(
            few,
            sample=lambda noise, condition: follow(student, noise, condition, times),
            description={**few.description, "kind": "average-velocity"},
        )

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration on noised real images."""
        x, condition = batch.real, batch.real_condition
        t, r = self.draw_times(batch)
        interval, time = t - r, per_sample(t, x)
        z = (1 - time) * x + time * batch.rng.normal(x)
        u = velocity(self.generator, self.schedule, z, t, condition, interval)
        with torch.no_grad():
            v = velocity(self.solved, self.schedule, z, t, condition)

        def student(z: Tensor, t: Tensor, interval: Tensor) -> Tensor:
            return velocity(self.generator, self.schedule, z, t, condition, interval)

        # r is fixed: along the ODE, dz/dt = v and d(t - r)/dt = 1.
        room = self.room(t)
        scaled = derivative_along(student, (z, t, interval), (per_sample(room, v) * v, room, room), self.recipe)
        derivative = scaled / per_sample(room, v)
        error = (u - average_velocity(v, derivative, interval)).square().flatten(1)
        loss = adaptive_loss(error.sum(1), self.recipe.loss_power, self.recipe.loss_constant)
        self.backward_and_step(self.generator, loss)
        figures = {"loss/meanflow": loss, "error": error.mean()}
        return {name: figure.detach() for name, figure in figures.items()} | self.statistics(z - time * u)

    def room(self, t: Tensor) -> Tensor:
        """Return the part of a finite difference's step that keeps its times within (0, 1), at times t [B].

        There is no noise level beyond 0 or 1. It is 1, except within two steps of them.
        """
        if self.recipe.tangent == "jvp":
            return torch.ones_like(t)
        return (torch.minimum(t, 1 - t) / (2 * self.recipe.tangent_step)).clamp(max=1)

    def draw_times(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draw times t and r [B] in float64, t >= r: the larger and the smaller of two logit-normal draws."""
        levels = torch.stack([log_normal_levels(batch, self.recipe, self.levels) for _ in range(2)])
        r, t = (levels / (1 + levels)).sort(0).values
        share = torch.special.ndtr(batch.rng.normal(batch.real.flatten(1)[:, 0]))
        return t, torch.where(share < self.recipe.instant_share, t, r)


def velocity(
    denoiser: Denoiser | TrainedModel,
    schedule: NoiseSchedule,
    z: Tensor,
    t: Tensor,
    condition: Tensor,
    *interval: Tensor,
) -> Tensor:
    """Return the velocity (z - x0) / t, or with an interval [B] the mean one; z [B, ...], t [B] in flow time."""
    x_t, own = schedule.from_flow(z, t)
    return (z - denoiser(x_t, own, condition, *interval)) / per_sample(t, z)


def average_velocity(v: Tensor, derivative: Tensor, interval: Tensor) -> Tensor:
    """Return the target v - (t - r) du/dt, which the average velocity u equals (MeanFlow, Eq. 6); v [B, ...]."""
    return v - per_sample(interval, v) * derivative


def adaptive_loss(error: Tensor, power: float, constant: float) -> Tensor:
    """Return the mean of the errors [B], each divided by (error + c)^p without gradients (MeanFlow)."""
    return (error / (error.detach() + constant) ** power).mean()


def follow(student: Denoiser, noise: SampleNoise, condition: Tensor, times: list[float]) -> Tensor:
    """Generate images by steps of the average velocity through `times`, descending, and then to the image.

    In rectified flow's coordinates z_r = z_t - (t - r) u: the DDIM step of the x0 that the student returns.
    """
    schedule, eps = student.schedule, noise.draw()
    steps = [torch.full((len(eps),), time, dtype=torch.float64, device=eps.device) for time in times]
    point = Noised(schedule.prior(eps, steps[0]), steps[0], condition)
    for t, s in itertools.pairwise(steps):
        interval = schedule.flow_time(t) - schedule.flow_time(s)
        point = ode_step(lambda *inputs, over=interval: student(*inputs, over), schedule, point, s)
    images: Tensor = student(*point)
    return images
