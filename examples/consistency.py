"""Consistency distillation (Song et al., 2023) as a plug-in, which consists of this file alone:

    bench run --plugin examples/consistency.py --method my-consistency --task digits

The student f should return the same image at all points of a trajectory of the teacher's ODE. One point is a real
image with noise, and a step of the teacher leads to its neighbour. The loss is the distance of f at the point to a
target network, an EMA of f's weights, at the neighbour. There is no critic. This is the core of the
method; the built-in one, `consistency`, is complete.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.training.distiller import Batch, Distiller, Noised, Recipe, TrainingContext


class ConsistencyRecipe(Recipe):
    """The values of every recipe and two of this method, which `--set segments=12` changes for example."""

    segments: int = Field(18, ge=1, le=1000)
    """Segments of the noise grid. A step of the teacher covers one."""
    target_decay: float = Field(0.9, ge=0, lt=1)
    """Decay of the target network; 0: the target is the student itself."""


class Consistency(Distiller[ConsistencyRecipe]):
    """Consistency distillation: the student fits its own average after one ODE step of the teacher."""

    name = "my-consistency"
    recipe_model = ConsistencyRecipe
    # Values by scale or task name. All others are the defaults of the recipe class.
    recipes: ClassVar = {
        "micro": {"iterations": 1000, "batch_size": 32, "lr": 1e-3, "warmup": 50, "lr_decay": 0.4}
    }

    def __init__(self, recipe: ConsistencyRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        student = self.add_student()
        self.target = self.add_target("target", student, self.build_student(self.teacher), recipe.target_decay)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        grid, condition = self.schedule.grid.to(batch.real.device, torch.float32), batch.real_condition
        stride = len(grid) // self.recipe.segments
        position = len(grid) - 1 - stride * batch.rng.integers(0, self.recipe.segments, len(batch.real))
        t, s = grid[position], grid[(position - stride).clamp(min=0)]
        point = Noised(self.schedule.add_noise(batch.real, batch.rng.normal(batch.real), t), t, condition)
        with torch.no_grad():
            target = self.target(*self.teacher_step(point, s))
        image = self.generator(*point)
        loss = (image - target).square().mean()
        self.backward_and_step(self.generator, loss)
        self.update_target(self.target)
        return {"loss/consistency": loss.detach(), **self.statistics(image)}
