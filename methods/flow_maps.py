"""What methods that learn a map along the teacher's ODE share: derivatives of networks, draws of noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.schedules import NoiseSchedule
from bench.training.context import Batch
from bench.training.cost import Cost, Passes
from bench.training.recipe import Recipe


class FlowMapRecipe(Recipe):
    """The recipe of methods that take the derivative of the student's output along the teacher's ODE."""

    guidance_scale: float = Field(1.0, ge=0)
    """Scale of the teacher's classifier-free guidance; 1: no guidance."""
    proposal_mean: float = -1.0
    """Mean of the logarithm of the noise level in training."""
    proposal_std: float = Field(1.4, gt=0)
    """Standard deviation of the logarithm of the noise level in training."""

    tangent: Literal["jvp", "finite-difference"] = "jvp"
    """The derivative of the student along the ODE: exact, in forward mode, or a central finite difference. Either
    costs two forward passes."""
    tangent_step: float = Field(1e-3, gt=0)
    """Half the distance of the two points of the finite difference, in the method's own time."""

    def cost(self) -> Cost:
        """Return the cost of a training: the student runs once to train, and twice for its derivative."""
        n = self.iterations
        teacher = Passes(n * (1 if self.guidance_scale == 1 else 2), 0)
        return replace(super().cost(), passes={"student": Passes(3 * n, n), "teacher": teacher})

    def idle(self) -> dict[str, str]:
        return super().idle() | ({"tangent_step": "tangent is jvp"} if self.tangent == "jvp" else {})

    @model_validator(mode="after")
    def _tangent_fits(self) -> Self:
        fix = "fix: --set tangent=finite-difference"
        if self.tangent == "jvp" and self.sharding != "none":
            raise ValueError(f"tangent=jvp runs whole networks, and sharding is {self.sharding}; {fix}")
        if self.tangent == "jvp" and self.compile_backend != "none":
            raise ValueError(f"tangent=jvp runs uncompiled networks; {fix} or compile_backend=none")
        if self.tangent != "jvp" and self.sharding != "none" and self.precision == "bf16":
            raise ValueError(
                "tangent=finite-difference requires float32, and sharded networks run in the recipe's precision, "
                "which is bf16; fix: --set precision=fp32"
            )
        if self.precision == "bf16-weights":
            raise ValueError(
                "the derivative of the student is taken in float32, and precision=bf16-weights runs it in bf16; "
                "fix: --set precision=bf16"
            )
        return self


@torch.no_grad()
def derivative_along(
    function: Callable[..., Tensor], point: Sequence[Tensor], direction: Sequence[Tensor], recipe: FlowMapRecipe
) -> Tensor:
    """Return d/dh function(point + h direction) at h = 0, without gradients.

    Point and direction are as many tensors of equal shapes. Networks must be called without their DDP wrapper, as
    a `TrainedModel` is where gradients are off. They run without autocast, which has no forward mode, and whose 8
    bits are few for a difference. In forward mode attention is the plain one: the fused kernels have none.
    """
    with torch.autocast(point[0].device.type, enabled=False):
        if recipe.tangent == "jvp":
            with sdpa_kernel(SDPBackend.MATH):
                derivative: Tensor = torch.func.jvp(function, tuple(point), tuple(direction))[1]
            return derivative
        h = recipe.tangent_step
        ends = ([p + step * d for p, d in zip(point, direction, strict=True)] for step in (-h, h))
        before, after = (function(*end) for end in ends)
        return (after - before) / (2 * h)


def level_range(schedule: NoiseSchedule, first: int) -> tuple[float, float]:
    """Return the noise levels to train on: the grid's lowest, and that of position `first`, the student's start.

    Where there is only noise it is that of the last time with alpha > 0.
    """
    low, high = schedule.time_range()
    start = schedule.grid[first : first + 1]
    return low, min(high, float(schedule.sigma(start) / schedule.alpha(start)))


def log_normal_levels(batch: Batch, recipe: FlowMapRecipe, span: tuple[float, float]) -> Tensor:
    """Draw noise levels [B] in float64: log-normal with the recipe's values, within the span."""
    mean, std = recipe.proposal_mean, recipe.proposal_std
    low, high = (0.5 * (1 + math.erf((math.log(end) - mean) / std / 2**0.5)) for end in span)
    uniform = torch.special.ndtr(batch.rng.normal(batch.real.flatten(1)[:, 0]).double())
    return (mean + std * torch.special.ndtri(low + (high - low) * uniform)).exp().clamp(*span)
