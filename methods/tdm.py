"""Trajectory distribution matching (TDM, Luo et al., 2025): the student's own ODE matches the teacher.

From the paper: the student is a K-step ODE solver, and sampled as such. Segment k of the noise grid leads from its
step k to its step k + 1, the last one to the clean image. The state that the step reaches is noised further, by
the forward process, to a time t of the same segment, where distribution matching compares it with the teacher; no
data is used. From the authors' public demo: the gradient is put on the step's x0, with DMD's normaliser and a
pseudo-Huber distance; every sample of a batch has a segment of its own; the state that a segment starts from is
detached; the critic fits the student's x0 under importance weights, and learns five times as fast. Choices of
ours: one pass of the student serves both updates (the demo draws segments twice); `critic_target = "score"`; t
comes up to the start of the segment (the demo stops 10 of 1,000 positions below it); the critic's rate warms up
and its gradient is clipped as the student's are (the demo does neither); the squared error has DMD's factor 1/2.
"""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.core.transfers import constant_on
from bench.models.denoiser import Denoiser
from bench.models.grid import grid_index, student_indices
from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, TrainingContext
from bench.training.simulation import ode_step
from bench.training.student_sampler import StudentSampler, ode_sampler
from methods.losses import trajectory_matching_loss
from methods.terms import CriticRecipe


class TDMRecipe(CriticRecipe):
    """The recipe of TDM. The defaults are the command of the authors' README and the values of their demo."""

    iterations: int = Field(10_000, ge=1)
    batch_size: int = Field(32, ge=1)
    lr: float = Field(4e-6, gt=0)
    critic_lr: float = Field(2e-5, gt=0)
    """Learning rate of the critic; there is no two time-scale rule beside it."""
    betas: tuple[float, float] = (0.0, 0.95)
    clip_norm: float = Field(1.0, gt=0)
    warmup: int = Field(50, ge=0)
    student_steps: int = Field(4, ge=1, le=1000)
    """Steps of the student's ODE, K, and segments of the noise grid; 1 is distribution matching of its image."""
    student_start: float = Field(0.899, gt=0, le=1)
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""
    mid_times: Literal["end", "random"] = "end"
    """Time that the student's step reaches before noise is added: the end of its segment, where the sampler stops
    too, or a random time of the segment (the demo's option, "regularises the generator")."""
    least_noise: float = Field(0.02, ge=0, lt=1)
    """Position on the noise grid below which distributions are not compared."""
    huber_c: float = Field(1e-3, ge=0)
    """Width of the pseudo-Huber distance, which limits each pixel's gradient; 0: DMD's squared error."""
    critic_target: Literal["x0", "score"] = "x0"
    """What the critic fits: the student's x0 under importance weights, or the exact denoising score matching
    of the noise that was added to its state."""
    critic_weight_limit: float = Field(5.0, ge=0)
    """Largest weight of the critic's loss (5: min-SNR for an epsilon loss); 0: no limit."""

    def cost(self) -> Cost:
        """Return the cost of a training: a trajectory up to its last step, and one step with gradients."""
        its, guided = self.iterations, 1 if self.guidance_scale == 1 else 2
        passes = {
            "student": Passes(its * self.student_steps, its),
            "teacher": Passes(its * guided, 0),
            "critic": Passes(2 * its, its),
        }
        return Cost(passes, generator_updates=its, trained=2, averages=int(self.ema_decay is not None))

    @model_validator(mode="after")
    def _least_noise_fits(self) -> Self:
        indices = student_indices(self.student_steps, start=self.student_start)
        first, last, least = indices[0], indices[-1], grid_index(self.least_noise)
        if least >= last:
            fix = f"least_noise={(last - 1) / 2000:g}"
            if last == 0:  # nothing is below it
                steps = (first + 1) // (least + 2)
                fix = f"student_steps={steps}" if steps else "student_start=0.5"
            raise ValueError(
                f"least_noise {self.least_noise:g} is not below the student's last step, at {last / 1000:g} of "
                f"the grid, so its segment would be empty; fix: --set {fix}"
            )
        return self


class Diffused(NamedTuple):
    """States [B, C, H, W] that the student's step reached at times s, noised further by `noise` to `at`."""

    at: Noised
    s: Tensor
    noise: Tensor


class TDM(Distiller[TDMRecipe]):
    """Trajectory distribution matching: the student's ODE meets the teacher's distributions after each step."""

    recipe_model = TDMRecipe

    def __init__(self, recipe: TDMRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        critic = self.trainable_copy(self.teacher, recipe.critic_lora_rank, recipe.critic_lora_alpha)
        self.critic = self.add_model("critic", critic, recipe.critic_lr)
        self.mu_real = self.guided_teacher(recipe.guidance_scale)
        self.positions = torch.tensor([*self.indices, 0], device=self.accelerator.device)
        """Grid positions of the student's steps, descending, and 0, where the last segment ends."""

    @classmethod
    def sampler(cls, recipe: TDMRecipe, student: Denoiser) -> StudentSampler:
        grid = len(student.schedule.grid)
        return ode_sampler(student, student_indices(recipe.student_steps, grid, recipe.student_start))

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train the critic, then the student, with noise of their own for the same steps of the student.

        As in the demo the student is trained with the critic after its step. Micro-batches cannot wait for that
        step, so all but the last meet the critic before it, and the result depends on `gradient_accumulation`.
        """
        step = batch.rng.integers(0, len(self.indices), len(batch.real))
        start = self.segment_starts(batch, step)
        x0 = self.generator(*start)
        figures = self.update_critic(x0.detach(), self.diffused(x0.detach(), start, step, batch))
        figures |= self.update_generator(x0, self.diffused(x0.detach(), start, step, batch))
        return figures | self.statistics(x0)

    @torch.no_grad()
    def segment_starts(self, batch: Batch, step: Tensor) -> Noised:
        """Sample the student's ODE, and return each sample's state at the start of its segment, `step` [B]."""
        t = self.step_time(0, len(step))
        state = Noised(self.schedule.prior(batch.rng.normal(batch.real), t), t, batch.condition)
        states = [state.x_t]
        for following in range(1, len(self.indices)):
            state = ode_step(self.generator, self.schedule, state, self.step_time(following, len(step)))
            states.append(state.x_t)
        own = torch.arange(len(step), device=step.device)
        return Noised(torch.stack(states)[step, own], self.step_times[step], batch.condition)

    def diffused(self, x0: Tensor, start: Noised, step: Tensor, batch: Batch) -> Diffused:
        """Follow the student's step from `start` towards x0 to a time s, then add noise up to a time t >= s."""
        first, end = self.positions[step], self.positions[step + 1]
        mid = _draw(batch, end, first) if self.recipe.mid_times == "random" else end
        least = grid_index(self.recipe.least_noise, len(self.schedule.grid))
        grid = constant_on(self.schedule.grid, step.device, torch.float32)
        s, t = grid[mid], grid[_draw(batch, mid.clamp(min=least), first)]
        ratio, noisier = self.schedule.noise_between(s, t)
        x_s, noise = self.schedule.ode_point(start.x_t, x0, start.t, s), batch.rng.normal(x0)
        x_t = per_sample(ratio, x0) * x_s + per_sample(noisier, x0) * noise
        return Diffused(Noised(x_t, t, start.condition), s, noise)

    def update_critic(self, x0: Tensor, diffused: Diffused) -> dict[str, Tensor]:
        """Train the critic for one step on the student's diffused states, whose x0 is detached."""
        weight = self.schedule.denoising_weight(diffused.at.t).clamp(max=self.recipe.critic_weight_limit or inf)
        loss_of = x0_loss if self.recipe.critic_target == "x0" else score_loss
        loss = (weight * loss_of(self.critic(*diffused.at), x0, diffused, self.schedule)).mean()
        self.backward_and_step(self.critic, loss)
        return {"loss/denoising": loss.detach()}

    def update_generator(self, x0: Tensor, diffused: Diffused) -> dict[str, Tensor]:
        """Train the student for one step by distribution matching of its diffused states."""
        with torch.no_grad():
            real, fake = self.mu_real(*diffused.at), self.critic(*diffused.at)
        image = x0.detach().requires_grad_()
        loss = trajectory_matching_loss(image, real, fake, self.recipe.huber_c)
        (gradient,) = torch.autograd.grad(loss, image)
        self.backward_from_gradients(self.generator, [x0], [gradient])
        return {"loss/dm": loss.detach(), "image_gradient/dm": gradient.norm()}


def x0_loss(found: Tensor, x0: Tensor, diffused: Diffused, schedule: NoiseSchedule) -> Tensor:
    """Return each sample's squared error [B] to the student's x0, times its importance weight (the demo's).

    Seen from x0 the noise in x_t is partly the student's own, which is not a normal draw. The weight is the ratio
    of normal densities of that noise and of the noise that was added, as a geometric mean over pixels.
    """
    x_t, t, _ = diffused.at
    mixed = (x_t - per_sample(schedule.alpha(t), x_t) * x0) / per_sample(schedule.sigma(t), x_t)
    energies = (diffused.noise**2 - mixed**2).flatten(1).mean(1)
    return (energies / 2).exp() * (found - x0).square().flatten(1).mean(1)


def score_loss(found: Tensor, _x0: Tensor, diffused: Diffused, schedule: NoiseSchedule) -> Tensor:
    """Return each sample's error [B] of denoising score matching given x_s, on the scale of an error in x0.

    x_t = a x_s + b eps has the score -eps / b given x_s, and -(x_t - alpha x0) / sigma^2 is the score that `found`
    means. The residual is b (x_t - alpha found) / sigma^2 - eps, which is 0 on average for the score of x_t alone,
    and times sigma / alpha: where x_s is a clean image it is the error of `found` as an estimate of it.
    """
    x_t, t, _ = diffused.at
    alpha, sigma = (per_sample(part(t), x_t) for part in (schedule.alpha, schedule.sigma))
    added = per_sample(schedule.noise_between(diffused.s, t)[1], x_t)
    residual = added * (x_t - alpha * found) / sigma**2 - diffused.noise
    return (sigma / alpha * residual).square().flatten(1).mean(1)


def _draw(batch: Batch, low: Tensor, high: Tensor) -> Tensor:
    """Draw one integer for each sample, uniform in low ... high - 1 [B]."""
    return low + batch.rng.integers(0, 2**31, len(low)) % (high - low)
