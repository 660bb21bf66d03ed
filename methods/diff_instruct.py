"""Diff-Instruct (Luo et al., 2023): the generator descends the integral Kullback-Leibler divergence."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, TrainingContext
from methods.losses import denoising_loss
from methods.noise_levels import lognormal_times
from methods.terms import CriticRecipe


class DiffInstructRecipe(CriticRecipe):
    """The recipe of Diff-Instruct. The defaults are the official script's CIFAR-10 run."""

    iterations: int = Field(1_562_500, ge=1)
    """Training iterations, of one critic and one generator update each: 200 million images, as in the script."""
    batch_size: int = Field(128, ge=1)
    """Images per update, over all processes."""
    lr: float = Field(1e-5, gt=0)
    betas: tuple[float, float] = (0.0, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(0, ge=0)
    student_start: float = Field(0.403, gt=0, le=1)
    """Position on the noise grid at which the student starts: 0.403 is the script's noise level of 1 on EDM's
    grid."""
    critic_lr: float = Field(1e-5, gt=0)
    """Learning rate of the critic."""
    level_mean: float = -1.2
    """Mean of the logarithm of the noise levels that both losses draw (EDM's P_mean)."""
    level_std: float = Field(1.2, gt=0)
    """Standard deviation of that logarithm (EDM's P_std)."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""

    def cost(self) -> Cost:
        """Return the cost of a training. Backward simulation adds (N - 1) / 2 student passes, on average."""
        each = self.iterations
        passes = {
            "student": Passes(each + each * (self.student_steps - 1) // 2, each),
            "teacher": Passes(each if self.guidance_scale == 1 else 2 * each, 0),
            "critic": Passes(2 * each, each),
        }
        return replace(super().cost(), passes=passes, trained=2)


class DiffInstruct(Distiller[DiffInstructRecipe]):
    """Diff-Instruct: the difference of the scores of generated and real images is the generator's gradient."""

    recipe_model = DiffInstructRecipe

    def __init__(self, recipe: DiffInstructRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        critic = self.trainable_copy(self.teacher, recipe.critic_lora_rank, recipe.critic_lora_alpha)
        self.critic = self.add_model("critic", critic, recipe.critic_lr)
        self.mu_real = self.guided_teacher(recipe.guidance_scale)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train generator and critic for one step on the same images, which were generated before both steps.

        The official code trains the critic first and generates images for each, which micro-batches cannot do.
        """
        start = self.simulate(batch)
        made = self.generator(*start)
        figures = self.update_generator(made, start.condition, batch)
        figures |= self.update_critic(made.detach(), start.condition, batch)
        return figures | self.statistics(made)

    def update_generator(self, made: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the generator for one step. The loss that is logged is half the gradient's mean square."""
        noised = self.noised_by_law(made.detach(), condition, batch)
        with torch.no_grad():
            gradient = integral_kl_gradient(self.mu_real(*noised), self.critic(*noised))
        self.backward_from_gradients(self.generator, [made], [gradient / gradient.numel()])
        return {"loss/ikl": gradient.square().mean() / 2}

    def update_critic(self, made: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the critic for one step to denoise generated images."""
        noised = self.noised_by_law(made, condition, batch)
        loss = denoising_loss(self.critic(*noised), made, self.schedule.denoising_weight(noised.t))
        self.backward_and_step(self.critic, loss)
        return {"loss/denoising": loss.detach()}

    def noised_by_law(self, x: Tensor, condition: Tensor, batch: Batch) -> Noised:
        """Add noise to images [B, C, H, W], at levels drawn by EDM's law."""
        t = lognormal_times(self.schedule, batch, len(x), self.recipe.level_mean, self.recipe.level_std)
        return Noised(self.schedule.add_noise(x, batch.rng.normal(x), t), t, condition)


def integral_kl_gradient(real: Tensor, fake: Tensor) -> Tensor:
    """Return the gradient of the integral KL divergence at the generated image; all [B, C, H, W].

    It is w(t) (s_fake - s_real)(x_t) d x_t / d x, where s = (alpha x0 - x_t) / sigma^2 for the x0 of critic or
    teacher and d x_t / d x = alpha. The official code's weight is w = sigma^2 / alpha^2, with which all factors
    cancel. DMD divides the same direction by mean |x - r|.
    """
    return fake - real
