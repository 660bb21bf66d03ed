"""Recipes of the built-in methods: terms are switches, weights and schedules are numbers. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from bench.training.cost import Cost, Passes
from bench.training.recipe import Recipe
from methods.terms import CriticRecipe, GANRecipe, MatchingRecipe, Span


class LPIPSRecipe(Recipe):
    """The recipe of methods whose loss may be LPIPS on VGG16."""

    lpips_weights: Path | None = None
    """File of LPIPS's trunk, torchvision's vgg16-397923af.pth; none: the one that `bench prepare --weights`
    pinned for the task."""
    lpips_pooling: Literal["max", "average"] = "max"
    """Pooling between the trunk's layers: VGG16's own max, or average as in DMD2's pretraining of SDXL."""
    lpips_switch: ClassVar[str]
    """The name of the field that chooses the distance."""

    @property
    def chosen_distance(self) -> str:
        """The value of the field that chooses the distance."""
        return str(getattr(self, self.lpips_switch))

    @property
    def roles(self) -> frozenset[str]:
        if self.chosen_distance != "lpips":
            return super().roles
        return super().roles | {"tiny_vae"} | ({"lpips"} if self.lpips_weights is None else set())

    def idle(self) -> dict[str, str]:
        other = dict.fromkeys(("lpips_weights", "lpips_pooling"), f"{self.lpips_switch} is {self.chosen_distance}")
        return super().idle() | ({} if self.chosen_distance == "lpips" else other)


class PairRecipe(LPIPSRecipe):
    """The recipe of methods that regress to teacher pairs."""

    lpips_switch = "regression_distance"

    pairs: int = Field(25_000, ge=1)
    """Teacher noise-image pairs for the regression, made once per task."""
    regression_distance: Literal["mse", "lpips"] = "mse"
    """Distance of the student's image to the teacher's: mean squared error, of latents if the networks generate
    them, or LPIPS on VGG16 (as DMD on ImageNet), which decodes latents by a tiny VAE."""

    @property
    def teacher_pairs(self) -> int:
        return self.pairs


class DMDRecipe(GANRecipe, MatchingRecipe, CriticRecipe, PairRecipe):
    """The recipe of DMD and DMD2. The defaults are DMD2's ImageNet-64 run (F.2 and the official scripts)."""

    added_later = frozenset(
        {
            *("decoupled", "ca_times", "ca_factor", "dm_times", "dm_divisor", "divergence", "ida_share"),
            *("discriminator_features", "gan_same_noise", "r1_weight", "r1_noise"),
        }
    )

    regression: bool = False
    """Switch of DMD's regression to teacher noise-image pairs (Eq. 3)."""
    regression_weight: float = Field(0.25, ge=0)
    """Weight of the regression term (DMD's lambda)."""
    input_simulation: Literal["backward", "noised-real"] = "backward"
    """Inputs of an N-step student after its first step: its own samples (Sec. 4.5), or noised real images."""
    critic_updates_per_generator_update: int = Field(5, ge=1)
    """Critic updates for each generator update (two time-scale update rule); 1 is DMD's simultaneous update. One
    of them is in the generator's iteration, on the images generated before the generator's step."""
    critic_lr: float = Field(2e-6, gt=0)
    """Learning rate of the critic and its discriminator head."""
    critic_denoising: bool = True
    """Switch of the critic's denoising of generated images; false in GAN-only methods, where it discriminates."""
    critic_range: Span = (0.0, 1.0)
    """Part of the noise grid from which the critic's denoising loss draws its times."""
    ida_share: float = Field(0.0, ge=0, lt=1)
    """Share of the student's weights that the critic takes after each generator update (SenseFlow's implicit
    distribution alignment: 0.02); 0: none. With micro-batches the critic's gradients of all but the last are those
    before it takes them."""

    def cost(self) -> Cost:
        """Return the cost of a training. The discriminator runs only an encoder and a small head.

        Backward simulation adds (N - 1) / 2 student passes an iteration, on average.
        """
        iterations, turns = self.iterations, -(-self.iterations // self.critic_updates_per_generator_update)
        matched = turns if self.distribution_matching else 0
        denoised = iterations if self.critic_denoising else 0
        simulated = iterations * (self.student_steps - 1) // 2 if self.input_simulation == "backward" else 0
        regressed = turns if self.regression else 0
        # Decoupled: once for distribution matching, and with and without the condition for augmentation.
        of_teacher = 3 if self.decoupled else 1 if self.guidance_scale == 1 else 2
        judged = turns if self.gan else 0
        classified = (1 if self.shared_critic_draws else 2) + (self.r1_weight > 0)
        read = judged + (iterations * classified if self.gan else 0)
        encoder = Passes(read, read)
        if self.discriminator_features == "teacher":  # it is frozen, and runs again for the divergence's weights
            encoder = Passes(read + (matched if self.divergence != "rkl" else 0), judged)
        passes = {
            "student": Passes(iterations + simulated + regressed, turns + regressed),
            "teacher": Passes(of_teacher * matched, 0),
            "critic": Passes(matched + denoised, denoised),
            f"{self.discriminator_features}'s encoder": encoder,
        }
        return replace(super().cost(), passes=passes, generator_updates=turns, trained=2)

    @property
    def roles(self) -> frozenset[str]:
        return super().roles if self.regression else frozenset()

    @property
    def teacher_pairs(self) -> int:
        return super().teacher_pairs if self.regression else 0

    def idle(self) -> dict[str, str]:
        found = super().idle()
        if not self.regression:
            keys = ("regression_weight", *PairRecipe.__annotations__)
            found |= dict.fromkeys(keys, "regression is off")
        if not self.critic_denoising:
            found["critic_range"] = "critic_denoising is off"
        if not self.distribution_matching:
            found["ida_share"] = "distribution_matching is off"
        if self.student_steps == 1:
            found["input_simulation"] = "a one-step student has only pure noise as input"
        return found

    def unreached(self) -> dict[str, str]:
        found = super().unreached()
        if self.critic_updates_per_generator_update >= self.iterations > 1:
            found["critic_updates_per_generator_update"] = (
                f"the generator is updated once in {self.iterations} iterations"
            )
        return found

    @model_validator(mode="after")
    def _one_step_pairs(self) -> Self:
        if self.regression and self.student_steps > 1:
            raise ValueError("regression to noise-image pairs trains one step only; fix: --set student_steps=1")
        return self

    @model_validator(mode="after")
    def _shared_draws_fit(self) -> Self:
        if not self.shared_critic_draws:
            return self
        if not (self.gan and self.critic_denoising):
            raise ValueError(
                "shared_critic_draws requires both losses of the critic, gan and critic_denoising; "
                "fix: --set shared_critic_draws=false"
            )
        if self.critic_range != self.gan_range:
            raise ValueError(
                f"shared_critic_draws requires one range of times: critic_range {list(self.critic_range)} is not "
                f"gan_range {list(self.gan_range)}; fix: --set shared_critic_draws=false"
            )
        return self

    @model_validator(mode="after")
    def _divergence_fits(self) -> Self:
        if self.divergence == "rkl" or not self.distribution_matching:
            return self
        if not self.gan:
            raise ValueError(
                f"divergence={self.divergence} weighs samples by the discriminator, and gan is off; "
                "fix: --set divergence=rkl"
            )
        (low, high), known = self.dm_range, self.gan_range
        if not known[0] <= low <= high <= known[1]:
            raise ValueError(
                f"divergence={self.divergence} asks the discriminator at the times of dm_range {[low, high]}, "
                f"which gan_range {list(known)} does not cover; fix: --set gan_range=[{min(low, known[0]):g},"
                f"{max(high, known[1]):g}]"
            )
        return self

    @model_validator(mode="after")
    def _alignment_fits(self) -> Self:
        if self.ida_share and (self.lora_rank or self.critic_lora_rank):
            raise ValueError(
                f"ida_share={self.ida_share:g} mixes the student's weights into the critic's, and a LoRA has "
                "others; fix: --set ida_share=0"
            )
        return self


class RegressionRecipe(PairRecipe):
    """The recipe of plain regression distillation (Luhman & Luhman, 2021)."""

    student_steps: Literal[1] = 1
    """Always 1, since a pair leads from noise to image in one step."""

    def cost(self) -> Cost:
        """Return the cost of a training: the student's passes alone, since pairs are made before it."""
        return replace(super().cost(), passes={"student": Passes(self.iterations, self.iterations)})
