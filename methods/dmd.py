"""DMD and DMD2 as one distiller, whose three terms, input simulation and update rule are switches."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.training.distiller import Batch, Distiller, Noised, Pairs, TrainingContext, frozen
from bench.training.simulation import noised_real_inputs
from methods.critic import Critic, discriminator_head
from methods.decoupled import Augmentation, cosine
from methods.divergences import divergence_weights
from methods.losses import (
    denoising_loss,
    discriminator_gan_loss,
    distribution_matching_loss,
    generator_gan_loss,
    r1_loss,
)
from methods.matching_times import logit_normal_times
from methods.perceptual import distance_of
from methods.recipes import DMDRecipe


class DMD(Distiller[DMDRecipe]):
    """Distribution matching distillation (DMD2, Sec. 4). Every ablation is a switch in its recipe."""

    recipe_model = DMDRecipe
    fresh_weights = ("heads.",)

    def __init__(self, recipe: DMDRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        if not (recipe.distribution_matching or recipe.gan or recipe.regression):
            raise UserError("all terms are off; fix: turn on distribution_matching, gan or regression")
        if not recipe.critic_denoising and (recipe.distribution_matching or not recipe.gan):
            raise UserError(
                "critic_denoising=false is only for methods with gan and without distribution_matching, whose "
                "critic only discriminates; fix: --set critic_denoising=true"
            )
        self.add_student()
        self.critic = self.add_model("critic", self._build_critic(), recipe.critic_lr)
        self.augmentation = None
        if recipe.distribution_matching and recipe.decoupled:
            self.augmentation = Augmentation(recipe, context)
        self.mu_real = self.teacher if self.augmentation else self.guided_teacher(recipe.guidance_scale)
        self.pairs: Pairs | None = None
        if recipe.regression:
            self.distance = distance_of(recipe, context)
            self.pairs = context.make_pairs(recipe.pairs)

    def _build_critic(self) -> Critic:
        recipe = self.recipe
        denoiser = self.trainable_copy(self.teacher, recipe.critic_lora_rank, recipe.critic_lora_alpha)
        if not recipe.gan:
            return Critic(denoiser)
        reads_teacher = recipe.discriminator_features == "teacher"
        if not recipe.critic_denoising:  # the decoder never runs, so DDP must not wait for its gradients
            read = () if reads_teacher else [one for one in denoiser.feature_parameters() if one.requires_grad]
            denoiser.requires_grad_(False)
            for parameter in read:
                parameter.requires_grad_(True)
        heads = [discriminator_head(shape).to(self.accelerator.device) for shape in denoiser.feature_shapes]
        return Critic(denoiser, heads, self.teacher if reads_teacher else None)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration (DMD2, Sec. 4.6): the generator every few iterations, the critic in each one.

        As in the official code, the critic is trained on the images generated before the generator's step.
        """
        generator_turn = batch.iteration % self.recipe.critic_updates_per_generator_update == 0
        start = self.simulate(batch)
        with torch.set_grad_enabled(generator_turn):
            fake = self.generator(*start)
        figures = self.update_generator(fake, start, batch) if generator_turn else {}
        figures |= self.update_critic(fake.detach(), start.condition, batch)
        return figures | self.statistics(fake)

    def simulate(self, batch: Batch) -> Noised:
        """Make the student's input from its own samples or from noised real images, without gradients."""
        if self.recipe.input_simulation == "noised-real":
            return noised_real_inputs(self.schedule, self.step_times, batch)
        return super().simulate(batch)

    def update_generator(self, fake: Tensor, start: Noised, batch: Batch) -> dict[str, Tensor]:
        """Train the generator for one step. The terms' gradients are summed at the generated image, and logged."""
        image = fake.detach().requires_grad_()
        losses: dict[str, Tensor] = {}
        # The critic is frozen until the gradients are computed, since checkpointing runs its forward again.
        with frozen(self.critic.network):
            if self.recipe.distribution_matching:
                matching = self.distribution_matching_loss(image, start.condition, batch)
                losses["dm"] = self.recipe.dm_weight * matching
            if self.augmentation:
                losses["ca"] = self.recipe.dm_weight * self.augmentation.loss(image, start, batch)
            if self.recipe.gan:
                gan = self.generator_gan_loss(image, start.condition, batch)
                losses["gan"] = self.recipe.gan_generator_weight * gan
            by_term = {name: torch.autograd.grad(loss, image)[0] for name, loss in losses.items()}
        figures = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        figures |= {f"image_gradient/{name}": gradient.norm() for name, gradient in by_term.items()}
        if self.augmentation:
            figures["cosine/dm-ca"] = cosine(by_term["dm"], by_term["ca"])
        outputs, gradients = [], []
        if by_term:
            outputs, gradients = [fake], [torch.stack(list(by_term.values())).sum(0)]
        if self.pairs is not None:
            regression = self.recipe.regression_weight * self.regression(self.pairs, batch)
            figures["loss/regression"] = regression.detach()
            outputs, gradients = [*outputs, regression], [*gradients, torch.ones_like(regression)]
        self.backward_from_gradients(self.generator, outputs, gradients)
        self.align_critic()
        return figures

    @torch.no_grad()
    def align_critic(self) -> None:
        """Move the critic's weights towards the student's (implicit distribution alignment; SenseFlow)."""
        share = self.recipe.ida_share
        if share and self.recipe.distribution_matching and self.micro_batch.is_last:
            fake_score = self.critic.master.get_submodule("denoiser")
            torch._foreach_lerp_([*fake_score.parameters()], [*self.generator.master.parameters()], share)
            self.critic.refresh()

    def update_critic(self, fake: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Train the critic for one step: denoise the generated images and discriminate them from real ones."""
        denoise = None
        if self.recipe.critic_denoising:
            denoise = self.noised(fake, condition, batch, self.recipe.critic_range)
        classify = self.to_classify(fake, condition, batch) if self.recipe.gan else None
        output = self.critic(denoise, classify, self.recipe.shared_critic_draws)
        figures: dict[str, Tensor] = {}
        total = fake.new_zeros(())
        if denoise is not None:
            weight = self.schedule.denoising_weight(denoise.t)
            figures["loss/denoising"] = denoising_loss(output.x0, fake, weight)
            total = total + figures["loss/denoising"]
        if classify is not None:
            of_real, *of_perturbed, of_fake = output.logits.split(len(fake))
            figures["loss/discriminator"] = discriminator = discriminator_gan_loss(of_real, of_fake)
            figures |= {"logits/real": of_real.mean(), "logits/fake": of_fake.mean()}
            if of_perturbed:
                figures["loss/r1"] = self.recipe.r1_weight * r1_loss(of_real, of_perturbed[0])
                discriminator = discriminator + figures["loss/r1"]
            total = total + self.recipe.gan_critic_weight * discriminator
        self.backward_and_step(self.critic, total)
        return {name: figure.detach() for name, figure in figures.items()}

    def to_classify(self, fake: Tensor, condition: Tensor, batch: Batch) -> Noised:
        """Return the discriminator's inputs: noised real images, their perturbed copies for R1, generated ones.

        Generated images are not among them if the critic classifies those that it denoises.
        """
        recipe, span = self.recipe, self.recipe.gan_range
        t, noise = self.times(batch, span, len(fake)), batch.rng.normal(fake)
        real = Noised(self.schedule.add_noise(batch.real, noise, t), t, batch.real_condition)
        parts = [real]
        if recipe.gan_same_noise:
            parts.append(Noised(self.schedule.add_noise(fake, noise, t), t, condition))
        elif not recipe.shared_critic_draws:
            parts.append(self.noised(fake, condition, batch, span))
        if recipe.r1_weight:
            perturbed = real.x_t + recipe.r1_noise * batch.rng.normal(real.x_t)
            parts.insert(1, real._replace(x_t=perturbed))
        return Noised(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def distribution_matching_loss(self, image: Tensor, condition: Tensor, batch: Batch) -> Tensor:
        """Return the distribution matching loss of generated images (Eq. 2), weighted by the divergence."""
        recipe, span, x, weight = self.recipe, self.recipe.dm_range, image.detach(), None
        if recipe.dm_times == "uniform":
            t = self.times(batch, span, len(x))
        else:
            t = logit_normal_times(self.schedule, batch, span, len(x))
        noised = Noised(self.schedule.add_noise(x, batch.rng.normal(x), t), t, condition)
        with torch.no_grad():
            x0_real = self.mu_real(*noised)
            fake = self.critic(denoise=noised, classify_denoised=recipe.divergence != "rkl")
        if fake.logits is not None:
            weight = divergence_weights(fake.logits, recipe.divergence, self.mean_of_processes)
        return distribution_matching_loss(image, x0_real, fake.x0, weight, recipe.dm_divisor)

    def mean_of_processes(self, values: Tensor) -> Tensor:
        """Return the mean of numbers [B] over the samples of all processes."""
        return self.accelerator.reduce(values.mean(), "mean")

    def generator_gan_loss(self, image: Tensor, condition: Tensor, batch: Batch) -> Tensor:
        """Return the generator's GAN loss on noised generated images (Eq. 4), through the frozen critic."""
        noised = self.noised(image, condition, batch, self.recipe.gan_range)
        return generator_gan_loss(self.critic(classify=noised).logits)

    def regression(self, pairs: Pairs, batch: Batch) -> Tensor:
        """Return the regression loss on a batch of teacher pairs (Eq. 3)."""
        some = pairs.sample(batch)
        t = self.step_time(0, len(some.noise))
        return self.distance(self.generator(self.schedule.prior(some.noise, t), t, some.condition), some.image)
