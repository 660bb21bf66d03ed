"""Score identity distillation (SiD; Zhou et al., 2024a) and its adversarial form (SiDA; Zhou et al., 2024b)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.denoiser import Denoiser
from bench.models.schedules import per_sample
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, TrainingContext, frozen
from methods.losses import denoising_loss
from methods.noise_levels import lognormal_times
from methods.terms import CriticRecipe, Span


class SiDRecipe(CriticRecipe):
    """The recipe of SiD and SiDA. The defaults are SiD's ImageNet-64 run (official scripts)."""

    added_later = frozenset({"discriminator_weight"})

    iterations: int = Field(114_646, ge=1)
    """Training iterations, of one critic and one generator update each: 939 million images, as published."""
    batch_size: int = Field(8192, ge=1)
    """Images per update, over all processes."""
    lr: float = Field(4e-6, gt=0)
    betas: tuple[float, float] = (0.0, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(0, ge=0)
    student_start: float = Field(0.5, gt=0, le=1)
    """Position on the noise grid at which the student starts: 0.5 is SiD's noise level of 2.5 on EDM's grid."""
    critic_lr: float = Field(4e-6, gt=0)
    """Learning rate of the critic."""
    alpha: float = 1.2
    """Weight of the squared difference of the scores, which the loss subtracts: 1.2 in SiD, 1 in SiDA."""
    sid_range: Span = (0.0, 0.8)
    """Part of the noise grid from which the generator's loss draws its times."""
    sid_weight: float = Field(100.0, gt=0)
    """Weight of the generator's score identity loss."""
    critic_level_mean: float = -1.2
    """Mean of the logarithm of the noise levels that the critic is trained at (EDM's P_mean)."""
    critic_level_std: float = Field(1.2, gt=0)
    """Standard deviation of that logarithm (EDM's P_std)."""
    gan: bool = False
    """Switch of SiDA's adversarial loss on real images."""
    gan_generator_weight: float = Field(0.01, ge=0)
    """Weight of the adversarial loss in the generator's loss."""
    gan_critic_weight: float = Field(1 / 12_288, ge=0)
    """Weight of the adversarial loss in the critic's loss. The official one is 1 beside a denoising loss that is
    summed over the 3 x 64 x 64 numbers of an image, whose mean is taken here."""
    discriminator_weight: Literal["image", "batch"] = "image"
    """Weight of the critic's adversarial loss: "image" is the denoising weight at each image's own noise level;
    "batch" is its mean over the batch, for all images, as in the official code."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""

    def cost(self) -> Cost:
        """Return the cost of a training. Backward simulation adds (N - 1) / 2 student passes, on average."""
        each = self.iterations
        teacher = each if self.guidance_scale == 1 else 2 * each
        encoder = each if self.gan else 0
        passes = {
            "student": Passes(each + each * (self.student_steps - 1) // 2, each),
            "teacher": Passes(teacher, teacher),
            "critic": Passes(2 * each, 2 * each),
            "critic's encoder": Passes(encoder, encoder),
        }
        return replace(super().cost(), passes=passes, trained=2)

    def idle(self) -> dict[str, str]:
        keys = () if self.gan else ("gan_generator_weight", "gan_critic_weight", "discriminator_weight")
        return super().idle() | dict.fromkeys(keys, "gan is off")


class Judged(NamedTuple):
    """The critic's output: denoised images [B, C, H, W], their logits [B, P], and those of real images, if any."""

    x0: Tensor
    logits: Tensor
    real_logits: Tensor | None


class SiDCritic(nn.Module):
    """The denoiser of generated images. The mean over its bottleneck's channels is SiDA's logit at each place."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, generated: Noised, real: Noised | None = None) -> Judged:
        """Denoise and classify generated images, and classify real ones: one call, as DDP requires."""
        x0, features = self.denoiser.with_features(*generated)
        real_logits = None if real is None else channel_mean(self.denoiser.features(*real)[-1])
        return Judged(x0, channel_mean(features[-1]), real_logits)


class SiD(Distiller[SiDRecipe]):
    """SiD and SiDA: a critic denoises generated images, and its difference to the teacher trains the generator."""

    recipe_model = SiDRecipe

    def __init__(self, recipe: SiDRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        critic = self.trainable_copy(self.teacher, recipe.critic_lora_rank, recipe.critic_lora_alpha)
        self.critic = self.add_model("critic", SiDCritic(critic), recipe.critic_lr)
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

    def update_critic(self, made: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the critic to denoise generated images and, in SiDA, to tell them from real images."""
        law = self.recipe.critic_level_mean, self.recipe.critic_level_std
        whole = replace(batch, rng=batch.rng.of_all_shares())
        times = lognormal_times(self.schedule, whole, len(made) * batch.rng.shares, *law)
        t = batch.rng.own(times)
        noise, weight = batch.rng.normal(made), self.schedule.denoising_weight(t)
        generated = Noised(self.schedule.add_noise(made, noise, t), t, condition)
        real = None
        if self.recipe.gan:  # real images get the same noise
            real = Noised(self.schedule.add_noise(batch.real, noise, t), t, batch.real_condition)
        judged: Judged = self.critic(generated, real)
        loss = denoising_loss(judged.x0, made, weight)
        figures = {"loss/denoising": loss.detach()}
        if judged.real_logits is not None:
            if self.recipe.discriminator_weight == "batch":
                # Of the whole batch, so that the loss does not depend on the number of GPUs or micro-batches.
                weight = self.schedule.denoising_weight(times).mean().expand_as(weight)
            adversarial = discriminator_loss(judged.real_logits, judged.logits, weight)
            figures["loss/discriminator"] = adversarial.detach()
            figures["logits/real"] = judged.real_logits.detach().mean()
            figures["logits/fake"] = judged.logits.detach().mean()
            loss = loss + self.recipe.gan_critic_weight * adversarial
        self.backward_and_step(self.critic, loss)
        return figures

    def update_generator(self, made: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the generator for one step. The gradient passes through teacher and critic, which are frozen."""
        # The critic is frozen until the backward pass ends, since checkpointing runs its forward again.
        with frozen(self.critic.network):
            losses = self.generator_losses(made, condition, batch)
            self.backward_and_step(self.generator, torch.stack(list(losses.values())).sum())
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()}

    def generator_losses(self, made: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted losses of generated images by name."""
        noised = self.noised(made, condition, batch, self.recipe.sid_range)
        real, judged = self.mu_real(*noised), self.critic(noised)
        sid = score_identity_loss(made, real, judged.x0, self.recipe.alpha)
        losses = {"sid": self.recipe.sid_weight * sid}
        if self.recipe.gan:
            losses["gan"] = self.recipe.gan_generator_weight * adversarial_loss(made, real, judged.logits)
        return losses


def score_identity_loss(x: Tensor, real: Tensor, fake: Tensor, alpha: float) -> Tensor:
    """Return the mean of (r - f) ((r - x) - alpha (r - f)) / mean |x - r|; all [B, C, H, W] (SiD, official code).

    r and f are the noised x, denoised by teacher and critic, through which the gradient in x passes. Each sample
    has its own divisor, which has no gradient.
    """
    difference = real - fake
    return (difference * ((real - x) - alpha * difference) / per_sample(distance(x, real), x)).mean()


def adversarial_loss(x: Tensor, real: Tensor, logits: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(logits) [B, P], with logits within +-10, over SiD's divisor (SiDA).

    The official code divides the mean of a GPU's batch. Here each sample's own mean is divided, so that the loss
    does not depend on the number of GPUs.
    """
    each = F.softplus(-logits.clamp(-10, 10)).mean(1)
    return (each / distance(x, real)).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of -(log sigmoid(real) + log sigmoid(-fake)) / 2; logits [B, P], weight [B].

    With EDM's weight of each sample's own level, half of all weight is at levels below 0.017, which 1 % of the
    samples have (at the critic's law of levels). With one weight for all, half is below 0.3.
    """
    each = (F.softplus(-real_logits) + F.softplus(fake_logits)).mean(1) / 2
    return (weight * each).mean()


@torch.no_grad()
def distance(x: Tensor, real: Tensor) -> Tensor:
    """Return each sample's mean |x - r|, at least 1e-5, without gradient: [B, C, H, W] -> [B]."""
    return (x - real).abs().flatten(1).mean(1).clamp(min=1e-5)


def channel_mean(features: Tensor) -> Tensor:
    """Return the mean over channels at each place: a map [B, C, H, W] or tokens [B, N, D] -> [B, places]."""
    return features.mean(1 if features.ndim == 4 else 2).flatten(1)
