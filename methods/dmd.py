"""DMD and DMD2 as one distiller: three terms, an input simulation and an update rule, each a switch."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.training.distiller import Batch, Distiller, Pairs, Setting
from methods.critic import Critic, Noised, discriminator_head, frozen
from methods.losses import (
    denoising_loss,
    discriminator_gan_loss,
    distribution_matching_loss,
    generator_gan_loss,
)
from methods.perceptual import distance_of
from methods.recipes import DMDRecipe


class DMD(Distiller[DMDRecipe]):
    """Distribution matching distillation (DMD2, Sec. 4), every ablation a switch in its recipe."""

    recipe_model = DMDRecipe

    def __init__(self, recipe: DMDRecipe, setting: Setting) -> None:
        super().__init__(recipe, setting)
        if not (recipe.distribution_matching or recipe.gan or recipe.regression):
            raise UserError("no term to train: turn on distribution_matching, gan or regression")
        if not recipe.critic_denoising and (recipe.distribution_matching or not recipe.gan):
            raise UserError(
                "critic_denoising=false is for methods whose critic only discriminates: with gan, without "
                "distribution_matching; use --set critic_denoising=true"
            )
        self.add_player("generator", self.adapt(self.student_copy()), self.recipe.lr)
        self.add_player("critic", self._critic(), self.recipe.critic_lr)
        self.release_teacher()
        self.mu_real = self._guided_teacher()
        self.pairs: Pairs | None = None
        if self.recipe.regression:
            self.distance = distance_of(self.recipe, setting)
            self.pairs = setting.make_pairs(self.recipe.pairs)

    def _critic(self) -> Critic:
        denoiser = self.student_copy()
        if not self.recipe.gan:
            return Critic(denoiser)
        if not self.recipe.critic_denoising:  # the decoder never runs: several processes must not wait for it
            denoiser.requires_grad_(False)
            for parameter in denoiser.feature_parameters():
                parameter.requires_grad_(True)
        heads = [discriminator_head(shape).to(self.accelerator.device) for shape in denoiser.feature_shapes]
        return Critic(denoiser, heads)

    def _guided_teacher(self) -> Denoiser:
        if self.recipe.guidance_scale == 1:
            return self.teacher
        if self.setting.null_condition is None:
            raise UserError(
                f"guidance_scale is {self.recipe.guidance_scale}, but this task's teacher was trained without "
                "a null condition; use --set guidance_scale=1"
            )
        null = self.setting.null_condition.to(self.accelerator.device)
        return GuidedDenoiser(self.teacher, null, self.recipe.guidance_scale)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One iteration (DMD2, Sec. 4.6): the generator every few iterations, the critic in each.

        As in the official code, the critic sees the images made before the generator's step.
        """
        generator_turn = batch.iteration % self.recipe.critic_updates_per_generator_update == 0
        start = self.simulate(batch)
        generator = self.generator.prepared if generator_turn else self.generator.module
        with torch.set_grad_enabled(generator_turn):
            fake = generator(*start)
        figures = self.update_generator(fake, start.condition, batch) if generator_turn else {}
        figures |= self.update_critic(fake.detach(), start.condition, batch)
        return figures | self.statistics(fake)

    @torch.no_grad()
    def simulate(self, batch: Batch) -> Noised:
        """Make the student's input at one of its steps (Sec. 4.5); gradients flow through that step only."""
        noise = batch.draws.normal(batch.real)
        first = self.step_time(0, len(noise))
        pure = Noised(self.schedule.prior(noise, first), first, batch.condition)
        if len(self.indices) == 1:
            return pure
        if self.recipe.input_simulation == "noised-real":
            return self._noised_real(pure, noise, batch)
        step = batch.draws.integer(0, len(self.indices))  # shared by the batch and by all processes
        if step == 0:
            return pure
        # The simulated trajectory has noise of its own: correlated noise makes artefacts.
        x_t, x0 = self.schedule.prior(batch.draws.normal(noise), first), noise
        for k in range(step):
            t = self.step_time(k, len(noise))
            if k > 0:
                x_t = self.schedule.add_noise(x0, batch.draws.normal(noise), t)
            x0 = self.generator.module(x_t, t, batch.condition)
        t = self.step_time(step, len(noise))
        return Noised(self.schedule.add_noise(x0, noise, t), t, batch.condition)

    def _noised_real(self, pure: Noised, noise: Tensor, batch: Batch) -> Noised:
        """Earlier work's inputs: real images, noised to a step drawn per sample; step 0 is pure noise."""
        steps = batch.draws.integers(0, len(self.indices), len(noise))
        grid = self.schedule.grid.to(noise.device, torch.float32)
        t = grid[torch.tensor(self.indices, device=noise.device)[steps]]
        first = (steps == 0).reshape(-1, *[1] * (noise.ndim - 1))
        x_t = torch.where(first, pure.x_t, self.schedule.add_noise(batch.real, noise, t))
        return Noised(x_t, t, batch.real_condition)

    def update_generator(self, fake: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One generator step. The terms' gradients meet on the generated image, where they are measured."""
        image = fake.detach().requires_grad_()
        losses: dict[str, Tensor] = {}
        # The critic stays frozen until the gradients are there: checkpointing runs its forward again for them.
        with frozen(self.players["critic"].module):
            if self.recipe.distribution_matching:
                losses["dm"] = self.recipe.dm_weight * self.distribution_matching_loss(image, condition, batch)
            if self.recipe.gan:
                losses["gan"] = self.recipe.gan_generator_weight * self.generator_gan_loss(image, condition, batch)
            by_term = {name: torch.autograd.grad(loss, image)[0] for name, loss in losses.items()}
        figures = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        figures |= {f"image_gradient/{name}": gradient.norm() for name, gradient in by_term.items()}
        outputs, gradients = [], []
        if by_term:
            outputs, gradients = [fake], [torch.stack(list(by_term.values())).sum(0)]
        if self.pairs is not None:
            regression = self.recipe.regression_weight * self.regression(self.pairs, batch)
            figures["loss/regression"] = regression.detach()
            outputs, gradients = [*outputs, regression], [*gradients, torch.ones_like(regression)]
        self.descend_along(self.generator, outputs, gradients)
        return figures

    def update_critic(self, fake: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One critic step: denoise the generated images, tell them from real ones."""
        denoise = None
        if self.recipe.critic_denoising:
            denoise = self._noised(fake, condition, batch, self.recipe.critic_range)
        classify = None
        if self.recipe.gan:
            classify = self._noised(batch.real, batch.real_condition, batch, self.recipe.gan_range)
            if not self.recipe.shared_critic_draws:
                made = self._noised(fake, condition, batch, self.recipe.gan_range)
                classify = Noised(*(torch.cat(parts) for parts in zip(classify, made, strict=True)))
        critic = self.players["critic"]
        output = critic.prepared(denoise, classify, self.recipe.shared_critic_draws)
        figures: dict[str, Tensor] = {}
        total = fake.new_zeros(())
        if denoise is not None:
            weight = self.schedule.denoising_weight(denoise.t)
            figures["loss/denoising"] = denoising_loss(output.x0, fake, weight)
            total = total + figures["loss/denoising"]
        if classify is not None:
            real_logits, fake_logits = output.logits.chunk(2)
            figures["loss/discriminator"] = discriminator_gan_loss(real_logits, fake_logits)
            total = total + self.recipe.gan_critic_weight * figures["loss/discriminator"]
        self.descend(critic, total)
        return {name: figure.detach() for name, figure in figures.items()}

    def distribution_matching_loss(self, image: Tensor, condition: Tensor, batch: Batch) -> Tensor:
        """The distribution matching loss of generated images (Eq. 2)."""
        noised = self._noised(image.detach(), condition, batch, self.recipe.dm_range)
        with torch.no_grad():
            x0_real = self.mu_real(*noised)
            x0_fake = self.players["critic"].module(denoise=noised).x0
        return distribution_matching_loss(image, x0_real, x0_fake)

    def generator_gan_loss(self, image: Tensor, condition: Tensor, batch: Batch) -> Tensor:
        """The generator's GAN loss on noised generated images (Eq. 4), through a critic that is frozen."""
        noised = self._noised(image, condition, batch, self.recipe.gan_range)
        return generator_gan_loss(self.players["critic"].module(classify=noised).logits)

    def regression(self, pairs: Pairs, batch: Batch) -> Tensor:
        """The regression loss on a batch of teacher pairs (Eq. 3)."""
        chosen = batch.draws.integers(0, len(pairs.noise), len(batch.real))
        some = pairs.at(chosen.cpu(), batch.real.device)
        t = self.step_time(0, len(some.noise))
        return self.distance(
            self.generator.prepared(self.schedule.prior(some.noise, t), t, some.condition), some.image
        )

    def _noised(self, x: Tensor, condition: Tensor, batch: Batch, span: tuple[float, float]) -> Noised:
        t = self.times(batch, span, len(x))
        return Noised(self.schedule.add_noise(x, batch.draws.normal(x), t), t, condition)
