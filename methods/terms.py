"""Recipes of the terms of DMD's loss: distribution matching, and the GAN on real images. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bench.training.recipe import Recipe


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    if not 0 <= low <= high <= 1:
        raise ValueError("a part of the noise grid is [low, high] with 0 <= low <= high <= 1")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Part of the noise grid, where 0 is its first and least noisy time and 1 is its last."""

Divisor = Literal["teacher", "clamped", "own"]
Divergence = Literal["rkl", "kl", "js", "sf", "neyman", "sh", "jf"]
AugmentationTimes = Literal["cleaner", "capped", "gap"]


class CriticRecipe(Recipe):
    """The recipe of methods with a critic, a second trained network that starts as the teacher."""

    added_later = frozenset({"critic_lora_rank", "critic_lora_alpha"})

    critic_lora_rank: int = Field(0, ge=0)
    """Rank of a LoRA to train on the critic (text-to-image only); 0: the whole critic is trained."""
    critic_lora_alpha: float = Field(8.0, gt=0)
    """The scale of the critic's LoRA is alpha / rank."""

    def idle(self) -> dict[str, str]:
        found = super().idle()
        if not self.critic_lora_rank:
            found["critic_lora_alpha"] = "critic_lora_rank is 0: the whole critic is trained"
        return found

    @model_validator(mode="after")
    def _base_fits_the_critic(self) -> Self:
        if self.one_base and not self.critic_lora_rank:
            raise ValueError(
                "one_base=true trains LoRAs on the teacher's weights, and critic_lora_rank is 0: the whole critic "
                f"would be trained; fix: --set critic_lora_rank={self.lora_rank}"
            )
        return self


class MatchingRecipe(Recipe):
    """The recipe of methods with a distribution matching term."""

    distribution_matching: bool = True
    """Switch of the distribution matching term (Eq. 2)."""
    dm_weight: float = Field(1.0, ge=0)
    """Weight of distribution matching in the generator's loss."""
    dm_range: Span = (0.02, 0.98)
    """Part of the noise grid from which distribution matching draws its times."""
    dm_times: Literal["uniform", "logit-normal"] = "uniform"
    """Law of these times: uniform, or logit-normal(0, 1) on the whole grid and clamped to dm_range."""
    dm_divisor: Divisor = "teacher"
    """Divisor of each sample's direction: the mean distance of the image to the teacher's (Eq. 2), the same but at
    least 0.1 (clamped), or the mean absolute value of the direction itself (own)."""
    divergence: Divergence = "rkl"
    """The f-divergence that distribution matching decreases, by a weight of each sample (f-distill): reverse KL as
    in DMD (rkl), forward KL, Jensen-Shannon (js), softened reverse KL (sf), Neyman, squared Hellinger (sh) or
    Jeffreys (jf)."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""
    decoupled: bool = False
    """True: guidance is a term of its own (CFG augmentation) with times of its own, and distribution matching has
    the teacher without guidance (decoupled DMD)."""
    ca_times: AugmentationTimes = "cleaner"
    """Times of CFG augmentation within dm_range. cleaner: uniform up to the student's own time; capped: uniform
    from 0 to that time, then clamped to dm_range; gap: cleaner by at least 0.005 of the grid."""
    ca_factor: Literal["w-1", "w"] = "w-1"
    """Factor of CFG augmentation, where w is the guidance scale."""

    def idle(self) -> dict[str, str]:
        found = super().idle()
        if not self.decoupled:
            found |= dict.fromkeys(("ca_times", "ca_factor"), "decoupled is off")
        if not self.distribution_matching:
            found |= dict.fromkeys(MatchingRecipe.__annotations__, "distribution_matching is off")
            del found["distribution_matching"]
        return found


class GANRecipe(Recipe):
    """The recipe of methods with a GAN term on real images."""

    gan: bool = True
    """Switch of the GAN term on real images (Eq. 4)."""
    gan_generator_weight: float = Field(3e-3, ge=0)
    """Weight of the GAN term in the generator's loss."""
    gan_critic_weight: float = Field(1e-2, ge=0)
    """Weight of the GAN term in the critic's loss (official scripts; the paper does not state it)."""
    gan_range: Span = (0.0, 1.0)
    """Part of the noise grid from which the discriminator draws its times."""
    gan_same_noise: bool = False
    """True: the discriminator trains on real and generated images at the same times and with the same noise."""
    discriminator_features: Literal["critic", "teacher"] = "critic"
    """The network whose features the discriminator's heads read: the critic, whose encoder they train too, or the
    frozen teacher (FastGen, Model-Optimizer)."""
    shared_critic_draws: bool = False
    """True: the critic denoises and classifies the same noised generated images in one pass, with an eighth fewer
    operations. Each loss has the same expectation."""
    r1_weight: float = Field(0.0, ge=0)
    """Weight of the R1 penalty in APT's form, relative to the discriminator's loss; 0: none. NVIDIA's own
    configurations have 0.1, its advice is 100 to 1000."""
    r1_noise: float = Field(0.1, gt=0)
    """Standard deviation of the noise that R1 adds to the discriminator's real inputs."""

    def idle(self) -> dict[str, str]:
        found = super().idle()
        if not self.r1_weight:
            found["r1_noise"] = "r1_weight is 0"
        if not self.gan:
            found |= dict.fromkeys(GANRecipe.__annotations__, "gan is off")
            del found["gan"]
        return found

    @model_validator(mode="after")
    def _draws_fit(self) -> Self:
        for key, value in (("gan_same_noise", False), ("discriminator_features", "critic")):
            if self.shared_critic_draws and getattr(self, key) != value:
                raise ValueError(
                    f"shared_critic_draws classifies what the critic denoises, which {key}={getattr(self, key)} "
                    "does not allow; fix: --set shared_critic_draws=false"
                )
        return self
