"""The derivative of a network along a direction, by forward mode or by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.training.recipe import Recipe


class DerivativeRecipe(Recipe):
    """The recipe of methods that take the derivative of the student's output along the teacher's ODE."""

    tangent: Literal["jvp", "finite-difference"] = "jvp"
    """The derivative of the student along the ODE: exact, in forward mode, or a central finite difference. Either
    costs two forward passes."""
    tangent_step: float = Field(1e-3, gt=0)
    """Half the distance of the two points of the finite difference, in the method's own time."""

    def idle(self) -> dict[str, str]:
        return super().idle() | ({"tangent_step": "tangent is jvp"} if self.tangent == "jvp" else {})

    @model_validator(mode="after")
    def _tangent_fits(self) -> Self:
        fix = "fix: --set tangent=finite-difference"
        if self.tangent == "jvp" and self.sharding != "none":
            raise ValueError(f"tangent=jvp runs whole networks, and sharding is {self.sharding}; {fix}")
        if self.tangent == "jvp" and self.compile_backend != "none":
            raise ValueError(f"tangent=jvp runs uncompiled networks; {fix} or compile_backend=none")
        if self.tangent != "jvp" and self.precision == "bf16":
            raise ValueError(
                "tangent=finite-difference requires precision=fp32, since bf16 has 8 bits for a small difference; "
                "fix: --set tangent=jvp or precision=fp32"
            )
        return self


@torch.no_grad()
def derivative_along(
    function: Callable[..., Tensor], point: Sequence[Tensor], direction: Sequence[Tensor], recipe: DerivativeRecipe
) -> Tensor:
    """Return d/dh function(point + h direction) at h = 0, without gradients.

    Point and direction are as many tensors of equal shapes. Networks must be called without their DDP wrapper, as
    a `TrainedModel` is where gradients are off. In forward mode attention is the plain one, because the fused
    kernels have none.
    """
    if recipe.tangent == "jvp":
        with sdpa_kernel(SDPBackend.MATH):
            derivative: Tensor = torch.func.jvp(function, tuple(point), tuple(direction))[1]
        return derivative
    h = recipe.tangent_step
    before, after = (function(*(p + step * d for p, d in zip(point, direction, strict=True))) for step in (-h, h))
    return (after - before) / (2 * h)
