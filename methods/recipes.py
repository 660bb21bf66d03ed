"""Recipes of the built-in methods: terms are switches, weights and schedules are numbers. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bench.training.cost import Cost, Passes
from bench.training.recipe import Recipe


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    if not 0 <= low <= high <= 1:
        raise ValueError("a part of the noise grid is [low, high] with 0 <= low <= high <= 1")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Part of the noise grid, where 0 is its first and least noisy time and 1 is its last."""


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


class DMDRecipe(PairRecipe):
    """The recipe of DMD and DMD2. The defaults are DMD2's ImageNet-64 run (F.2 and the official scripts)."""

    distribution_matching: bool = True
    """Switch of the distribution matching term (Eq. 2)."""
    gan: bool = True
    """Switch of the GAN term on real images (Eq. 4)."""
    regression: bool = False
    """Switch of DMD's regression to teacher noise-image pairs (Eq. 3)."""
    critic_updates_per_generator_update: int = Field(5, ge=1)
    """Critic updates for each generator update (two time-scale update rule); 1 is DMD's simultaneous update. One
    of them is in the generator's iteration, on the images generated before the generator's step."""
    input_simulation: Literal["backward", "noised-real"] = "backward"
    """Inputs of an N-step student after its first step: its own samples (Sec. 4.5), or noised real images."""
    critic_lr: float = Field(2e-6, gt=0)
    """Learning rate of the critic and its discriminator head."""
    critic_denoising: bool = True
    """Switch of the critic's denoising of generated images; false in GAN-only methods, where it discriminates."""
    critic_range: Span = (0.0, 1.0)
    """Part of the noise grid from which the critic's denoising loss draws its times."""
    shared_critic_draws: bool = False
    """True: the critic denoises and classifies the same noised generated images in one pass, with an eighth fewer
    operations. Each loss has the same expectation."""
    dm_weight: float = Field(1.0, ge=0)
    """Weight of distribution matching in the generator's loss."""
    dm_range: Span = (0.02, 0.98)
    """Part of the noise grid from which distribution matching draws its times."""
    gan_generator_weight: float = Field(3e-3, ge=0)
    """Weight of the GAN term in the generator's loss."""
    gan_critic_weight: float = Field(1e-2, ge=0)
    """Weight of the GAN term in the critic's loss (official scripts; the paper does not state it)."""
    gan_range: Span = (0.0, 1.0)
    """Part of the noise grid from which the discriminator draws its times."""
    r1_weight: float = Field(0.0, ge=0)
    """Weight of the R1 penalty in APT's form, relative to the discriminator's loss; 0: none. NVIDIA's own
    configurations have 0.1, its advice is 100 to 1000."""
    r1_noise: float = Field(0.1, gt=0)
    """Standard deviation of the noise that R1 adds to the discriminator's real inputs."""
    regression_weight: float = Field(0.25, ge=0)
    """Weight of the regression term (DMD's lambda)."""
    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance, which requires a null condition; 1: no guidance."""

    def cost(self) -> Cost:
        """Return the cost of a training. The discriminator runs only the critic's encoder and a small head.

        Backward simulation adds (N - 1) / 2 student passes an iteration, on average.
        """
        iterations, turns = self.iterations, -(-self.iterations // self.critic_updates_per_generator_update)
        dm, denoising = self.distribution_matching, self.critic_denoising
        simulated = iterations * (self.student_steps - 1) // 2 if self.input_simulation == "backward" else 0
        regressed = turns if self.regression else 0
        teacher = turns * (1 if self.guidance_scale == 1 else 2) if dm else 0
        classified = (1 if self.shared_critic_draws else 2) + (self.r1_weight > 0)
        encoder = turns + iterations * classified if self.gan else 0
        passes = {
            "student": Passes(iterations + simulated + regressed, turns + regressed),
            "teacher": Passes(teacher, 0),
            "critic": Passes(
                (turns if dm else 0) + (iterations if denoising else 0), iterations if denoising else 0
            ),
            "critic's encoder": Passes(encoder, encoder),
        }
        return replace(super().cost(), passes=passes, generator_updates=turns, trained=2)

    @property
    def roles(self) -> frozenset[str]:
        return super().roles if self.regression else frozenset()

    @property
    def teacher_pairs(self) -> int:
        return super().teacher_pairs if self.regression else 0

    def idle(self) -> dict[str, str]:
        switches = {
            "distribution_matching": ("dm_weight", "dm_range", "guidance_scale"),
            "gan": ("gan_generator_weight", "gan_critic_weight", "gan_range", "r1_weight", "r1_noise"),
            "regression": (
                "regression_weight",
                "pairs",
                "regression_distance",
                "lpips_weights",
                "lpips_pooling",
            ),
            "critic_denoising": ("critic_range",),
        }
        values = self.model_dump()
        found = super().idle() | {
            key: f"{switch} is off" for switch, keys in switches.items() if not values[switch] for key in keys
        }
        if not self.r1_weight:
            found["r1_noise"] = found.get("r1_noise", "r1_weight is 0")
        if self.student_steps == 1:
            found["input_simulation"] = "a one-step student has only pure noise as input"
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


class RegressionRecipe(PairRecipe):
    """The recipe of plain regression distillation (Luhman & Luhman, 2021)."""

    student_steps: Literal[1] = 1
    """Always 1, since a pair leads from noise to image in one step."""

    def cost(self) -> Cost:
        """Return the cost of a training: the student's passes alone, since pairs are made before it."""
        return replace(super().cost(), passes={"student": Passes(self.iterations, self.iterations)})
