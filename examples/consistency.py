"""Consistency distillation (Song et al., 2023) as a plug-in. All that it takes is this file:

    bench run --plugin examples/consistency.py --method consistency --task digits

The student f is to give the same image all along a trajectory of the teacher's ODE. One point is a real image with
noise; a step of the teacher leads to its neighbour; f at the point is drawn towards f at the neighbour. No critic.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.models.schedules import per_sample
from bench.training.distiller import Batch, Distiller, Setting
from bench.training.recipe import Recipe


class ConsistencyRecipe(Recipe):
    """What every recipe has, and one number of our own: `--set segments=12` changes it."""

    segments: int = Field(18, ge=1, le=1000)
    """Pieces of the noise grid; the teacher goes over one in one step."""


class Consistency(Distiller[ConsistencyRecipe]):
    """Consistency distillation: the student agrees with itself one ODE step of the teacher further on."""

    name = "consistency"
    recipe_model = ConsistencyRecipe
    # By scale or task name; the rest are the defaults of the recipe class.
    recipes: ClassVar = {
        "micro": {"iterations": 1000, "batch_size": 32, "lr": 1e-3, "warmup": 50, "lr_decay": 0.4}
    }

    def __init__(self, recipe: ConsistencyRecipe, setting: Setting) -> None:
        super().__init__(recipe, setting)
        self.add_player("generator", self.student_copy(), recipe.lr)  # the name of the network that is evaluated

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        grid, condition = self.schedule.grid.to(batch.real.device, torch.float32), batch.real_condition
        stride = len(grid) // self.recipe.segments
        position = len(grid) - 1 - stride * batch.draws.integers(0, self.recipe.segments, len(batch.real))
        t, s = grid[position], grid[(position - stride).clamp(min=0)]
        x_t = self.schedule.add_noise(batch.real, batch.draws.normal(batch.real), t)
        with torch.no_grad():  # f at the least noise is the image itself, by EDM's c_skip: it needs no target
            target = self.generator.module(self.teacher_step(x_t, t, s, condition), s, condition)
        loss = (self.generator.prepared(x_t, t, condition) - target).square().mean()
        self.descend(self.generator, loss)
        return {"loss/consistency": loss.detach()}

    def teacher_step(self, x_t: Tensor, t: Tensor, s: Tensor, condition: Tensor) -> Tensor:
        """Follow the teacher's ODE from t to s: keep the image and the noise that it sees in x_t (DDIM)."""
        x0 = self.teacher(x_t, t, condition)
        eps = (x_t - per_sample(self.schedule.alpha(t), x_t) * x0) / per_sample(self.schedule.sigma(t), x_t)
        return self.schedule.add_noise(x0, eps, s)
