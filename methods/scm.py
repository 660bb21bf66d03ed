"""sCM distillation (Lu & Song, 2024): continuous-time consistency distillation in TrigFlow's coordinates."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.models.denoiser import Denoiser
from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.distiller import Batch, Distiller, TrainedModel, TrainingContext
from methods.flow_maps import FlowMapRecipe, derivative_along, level_range, log_normal_levels


class SCMRecipe(FlowMapRecipe):
    """The recipe of sCM distillation. The defaults are the paper's, and SANA-Sprint's largest gradient norm."""

    clip_norm: float = Field(0.1, gt=0)
    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data, sigma_d: the noise level is sigma_d tan t."""
    tangent_warmup: int = Field(10_000, ge=0)
    """Iterations over which the tangent's unstable part rises from 0 to its full size, H."""
    tangent_constant: float = Field(0.1, gt=0)
    """The c of the normalised tangent g / (|g| + c)."""
    weighting: Literal["learned", "prior"] = "learned"
    """Weights of the times: the prior 1 / (sigma_d tan t), which is part of the tangent, alone or times a learned
    one, which makes the loss of all times alike."""

    def tangent_share(self, iteration: int) -> float:
        """Return the share of the tangent's unstable part at an iteration, from 0 to 1."""
        return min(1.0, iteration / self.tangent_warmup) if self.tangent_warmup else 1.0

    def unreached(self) -> dict[str, str]:
        found, share = super().unreached(), self.tangent_share(self.iterations - 1)
        if share < 1:
            found["tangent_warmup"] = f"the tangent rises to {share:.0%} in {self.iterations} iterations"
        return found


class TrigFlow(NamedTuple):
    """TrigFlow's coordinates of a denoiser: x = cos(t) x0 + sin(t) z with z ~ N(0, sigma_d^2), t in (0, pi / 2).

    A noised image under any schedule, divided by its alpha, has the noise level sigma / alpha = sigma_d tan(t);
    times cos(t) it is x. The denoised image is f = cos(t) x - sin(t) sigma_d F, which is x at t = 0.
    """

    schedule: NoiseSchedule
    sigma_data: float

    def time(self, level: Tensor) -> Tensor:
        """Return the times t of noise levels."""
        return torch.atan(level / self.sigma_data)

    def network(self, denoiser: Denoiser | TrainedModel, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return F(x / sigma_d, t): x [B, ...], t [B]. EDM's own network is -F."""
        own = self.schedule.time_at(self.sigma_data * torch.tan(t))
        x0 = denoiser(per_sample(self.schedule.alpha(own) / torch.cos(t), x) * x, own, condition)
        return (per_sample(torch.cos(t), x) * x - x0) / per_sample(self.sigma_data * torch.sin(t), x)


class SCM(Distiller[SCMRecipe]):
    """sCM distillation (Lu & Song, 2024, Alg. 1): df/dt = 0 along the teacher's ODE, in continuous time."""

    recipe_model = SCMRecipe

    def __init__(self, recipe: SCMRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        self.solved = self.guided_teacher(recipe.guidance_scale)
        self.trigflow = TrigFlow(self.schedule, recipe.sigma_data)
        self.weighting: TrainedModel | None = None
        if recipe.weighting == "learned":
            self.weighting = self.add_model("weighting", Weighting().to(self.accelerator.device), recipe.lr)
        self.levels = level_range(self.schedule, self.indices[0])

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train one iteration on noised real images."""
        x0, condition, trig = batch.real, batch.real_condition, self.trigflow
        t = trig.time(log_normal_levels(batch, self.recipe, self.levels))
        cos, sin = (per_sample(of(t), x0) for of in (torch.cos, torch.sin))
        x = cos * x0 + sin * self.recipe.sigma_data * batch.rng.normal(x0)
        F = trig.network(self.generator, x, t, condition)
        with torch.no_grad():
            slope = self.recipe.sigma_data * trig.network(self.solved, x, t, condition)  # dx/dt

        def student(x: Tensor, t: Tensor) -> Tensor:
            return trig.network(self.generator, x, t, condition)

        # Times cos(t) sin(t), the derivative is finite where the network sees the logarithm of the noise level.
        scale = torch.cos(t) * torch.sin(t)
        derivative = derivative_along(student, (x, t), (per_sample(scale, x) * slope, scale), self.recipe)
        r = self.recipe.tangent_share(batch.iteration)
        raw = tangent(F.detach(), derivative, slope, x, t, r, self.recipe.sigma_data)
        g = normalised(raw, self.recipe.tangent_constant)
        error = (F - F.detach() - g).square().flatten(1).mean(1)  # its value is |g|^2
        figures = {"tangent": root_mean_square(raw).mean()}
        if self.weighting is None:
            loss = error.mean()
        else:
            w = self.weighting(t)
            loss = (w.detach().exp() * error).mean()
            figures["loss/weighting"] = (w.exp() * error.detach() - w).mean()
            self.backward_and_step(self.weighting, figures["loss/weighting"])
        self.backward_and_step(self.generator, loss)
        figures |= {"loss/scm": loss} | self.statistics(cos * x - sin * self.recipe.sigma_data * F)
        return {name: figure.detach() for name, figure in figures.items()}


class Weighting(nn.Module):
    """The logarithm of the learned weight, w_phi(t): a linear map of Fourier features of t, at first 0."""

    def __init__(self, frequencies: int = 8) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * frequencies, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("frequencies", torch.arange(1.0, frequencies + 1), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Return w_phi at times t [B]: [B]."""
        phase = t.float()[:, None] * self.get_buffer("frequencies")
        output: Tensor = self.linear(torch.cat([phase.cos(), phase.sin()], 1))
        return output.flatten()


def tangent(
    F: Tensor,
    derivative: Tensor,
    slope: Tensor,
    x: Tensor,
    t: Tensor,
    r: float,
    sigma_data: float,
) -> Tensor:
    """Return the tangent g = cos(t) df/dt along the ODE (Alg. 1), with its unstable part times r; all [B, ...].

    df/dt = -cos(t) (sigma_d F - dx/dt) - sin(t) (x + sigma_d dF/dt). `slope` is dx/dt; `derivative` is dF/dt times
    cos(t) sin(t). The factor cos(t) is the weight 1 / (sigma_d tan t) of f, as a weight of F.
    """
    cos, sin = (per_sample(of(t), x) for of in (torch.cos, torch.sin))
    return -(cos**2) * (sigma_data * F - slope) - r * (cos * sin * x + sigma_data * derivative)


def normalised(g: Tensor, constant: float) -> Tensor:
    """Return g / (|g| + c), where |g| is the root mean square of a sample's elements, at any size."""
    return g / (per_sample(root_mean_square(g), g) + constant)


def root_mean_square(g: Tensor) -> Tensor:
    """Return the root mean square of each sample: [B, ...] -> [B]."""
    return g.square().flatten(1).mean(1).sqrt()
