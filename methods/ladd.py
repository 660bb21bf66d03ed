"""Latent adversarial diffusion distillation (LADD, Sauer et al., 2024), in SANA-Sprint's form (Chen et al., 2025).

The student denoises images at its step times. Its images, and real ones, are noised again to times of a wide law
and given to the frozen teacher. Small heads on the teacher's features at several depths tell them apart, and are
the only part of the discriminator that is trained; the student is trained through the teacher. From both papers:
hinge loss, a logit for each place of a map. From LADD: images to imitate that are the teacher's own
(`training_data = "teacher"`); inputs that are mostly pure noise. Choices of ours: each iteration updates both
(SANA-Sprint takes turns); equal noise levels for real images and the student's; heads without spectral norm, and
without a condition of their own, since features depend on condition and time; no pairs of image and wrong prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.denoiser import FeatureShape
from bench.training.cost import Cost, Passes
from bench.training.distiller import Batch, Distiller, Noised, Pairs, Recipe, TrainingContext, frozen
from methods.losses import r1_loss


class LADDRecipe(Recipe):
    """The recipe of LADD. Where its authors published nothing, the defaults are SANA-Sprint's."""

    iterations: int = Field(20_000, ge=1)
    batch_size: int = Field(512, ge=1)
    lr: float = Field(2e-6, gt=0)
    discriminator_lr: float = Field(2e-6, gt=0)
    """Learning rate of the discriminator's heads."""
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(0.1, gt=0)
    warmup: int = Field(5000, ge=0)
    student_steps: int = Field(4, ge=1, le=1000)
    training_data: Literal["real", "teacher"] = "real"
    """Images that the student denoises and imitates: the task's, or those of the teacher's pairs (LADD)."""
    pairs: int = Field(25_000, ge=1)
    """Teacher noise-image pairs whose images are the training data, made once per task."""
    first_step_share: float = Field(0.7, ge=0, le=1)
    """Share of the student's inputs that are pure noise, at its first step (LADD); other steps share the rest."""
    noise_mean: float = 1.0
    """Mean of log(sigma / alpha) of the discriminator's times. LADD's logit-normal law is this (1, 1) in a flow;
    SANA-Sprint has (-0.6, 1) for images of standard deviation 0.5."""
    noise_std: float = Field(1.0, ge=0)
    """Standard deviation of log(sigma / alpha) of the discriminator's times."""
    r1_weight: float = Field(0.0, ge=0)
    """Weight of the R1 penalty in APT's form, on the heads' logits of real images; 0: off."""
    r1_noise: float = Field(0.1, gt=0)
    """Standard deviation of the noise that perturbs noised real images for the R1 penalty."""

    def cost(self) -> Cost:
        """Return the cost of a training. The teacher runs up to its middle, and backward to its input alone."""
        its = self.iterations
        passes = {
            "student": Passes(its, its),
            "teacher's encoder": Passes(its * (3 + (self.r1_weight > 0)), its),
        }
        return Cost(passes, generator_updates=its, averages=int(self.ema_decay is not None))

    @property
    def teacher_pairs(self) -> int:
        return self.pairs if self.training_data == "teacher" else 0

    def idle(self) -> dict[str, str]:
        found = super().idle()
        if self.training_data == "real":
            found["pairs"] = "training_data is real"
        if self.student_steps == 1:
            found["first_step_share"] = "a one-step student has only pure noise as input"
        if not self.r1_weight:
            found["r1_noise"] = "r1_weight is 0"
        return found


class Heads(nn.Module):
    """The trained part of the discriminator: one head for each depth; all their logits are one row [B, places]."""

    def __init__(self, shapes: Sequence[FeatureShape]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(place_head(shape) for shape in shapes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.cat([head(one) for head, one in zip(self.heads, features, strict=True)], 1)


class LADD(Distiller[LADDRecipe]):
    """Latent adversarial diffusion distillation: a discriminator on the frozen teacher's features, hinge loss."""

    recipe_model = LADDRecipe
    fresh_weights = ("heads.",)

    def __init__(self, recipe: LADDRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        heads = Heads(self.teacher.deep_feature_shapes).to(self.accelerator.device)
        self.discriminator = self.add_model("discriminator", heads, recipe.discriminator_lr)
        self.pairs: Pairs | None = context.make_pairs(recipe.pairs) if recipe.teacher_pairs else None

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train the student, then the heads, on the images generated before the student's step."""
        real, condition = batch.real, batch.real_condition
        if self.pairs is not None:
            some = self.pairs.sample(batch)
            real, condition = some.image, some.condition
        fake = self.generator(*self.student_inputs(real, condition, batch))
        figures = self.update_generator(fake, condition, batch)
        figures |= self.update_discriminator(real, fake.detach(), condition, batch)
        return figures | self.statistics(fake)

    def student_inputs(self, real: Tensor, condition: Tensor, batch: Batch) -> Noised:
        """Noise images to the student's steps; an input at the first is pure noise, as in sampling."""
        count, steps = len(real), len(self.indices)
        noise, step = batch.rng.normal(real), torch.zeros(count, dtype=torch.long, device=real.device)
        if steps > 1:
            later = batch.rng.integers(0, 10**6, count) >= self.recipe.first_step_share * 10**6
            step = torch.where(later, batch.rng.integers(1, steps, count), step)
        t = self.step_times[step]
        first = (step == 0).reshape(-1, *[1] * (real.ndim - 1))
        x_t = torch.where(first, self.schedule.prior(noise, t), self.schedule.add_noise(real, noise, t))
        return Noised(x_t, t, condition)

    def discriminator_times(self, batch: Batch) -> Tensor:
        """Draw times [B] whose log(sigma / alpha) is normal, within the schedule's noise levels."""
        low, high = self.schedule.time_range()
        z = batch.rng.normal(batch.real[:, 0, 0, 0])
        level = (self.recipe.noise_mean + self.recipe.noise_std * z.double()).exp().clamp(low, high)
        return self.schedule.time_at(level).to(torch.float32)

    def update_generator(self, fake: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the student for one step to raise the logits of its images, through heads and teacher."""
        image, t = fake.detach().requires_grad_(), self.discriminator_times(batch)
        noised = self.schedule.add_noise(image, batch.rng.normal(image), t)
        with frozen(self.discriminator.network):
            loss = hinge_generator_loss(self.discriminator(self.teacher.deep_features(noised, t, condition)))
            (gradient,) = torch.autograd.grad(loss, image)
        self.backward_from_gradients(self.generator, [fake], [gradient])
        return {"loss/gan": loss.detach(), "image_gradient/gan": gradient.norm()}

    def update_discriminator(
        self, real: Tensor, fake: Tensor, condition: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Train the heads for one step on real images and on generated ones at the same noise levels."""
        t, weight = self.discriminator_times(batch), self.recipe.r1_weight
        noised = [self.schedule.add_noise(images, batch.rng.normal(images), t) for images in (real, fake)]
        if weight:
            noised.append(noised[0] + self.recipe.r1_noise * batch.rng.normal(real))
        several = [torch.cat([part] * len(noised)) for part in (t, condition)]
        with torch.no_grad():
            features = self.teacher.deep_features(torch.cat(noised), *several)
        of_real, of_fake, *of_perturbed = self.discriminator(features).chunk(len(noised))
        loss = hinge_discriminator_loss(of_real, of_fake)
        figures = {
            "loss/discriminator": loss.detach(),
            "logits/real": of_real.mean(),
            "logits/fake": of_fake.mean(),
        }
        for perturbed in of_perturbed:
            penalty = weight * r1_loss(of_real, perturbed)
            loss, figures["loss/r1"] = loss + penalty, penalty
        self.backward_and_step(self.discriminator, loss)
        return {name: figure.detach() for name, figure in figures.items()}


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the generator's loss beside a hinge discriminator, -D(fake)."""
    return -fake_logits.mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return max(0, 1 - D(real)) + max(0, 1 + D(fake)): logits beyond -1 and 1 have no gradient."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def place_head(shape: FeatureShape) -> nn.Sequential:
    """Build a small head with a logit for each place of a map (C, H, W) or for each token (N, D): [B, places].

    It has two hidden layers of the features' width.
    """
    width, tokens = shape[-1] if len(shape) == 2 else shape[0], len(shape) == 2
    groups = next(groups for groups in range(max(1, min(32, width // 8)), 0, -1) if width % groups == 0)
    layers: list[nn.Module] = []
    for _ in range(2):
        layers.append(nn.Linear(width, width) if tokens else nn.Conv2d(width, width, 3, padding=1))
        layers += [nn.LayerNorm(width) if tokens else nn.GroupNorm(groups, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, 1) if tokens else nn.Conv2d(width, 1, 1), nn.Flatten())
