"""Consistency distillation (Song et al., 2023) as a plug-in. All that it takes is this file:

    bench run --plugin examples/consistency.py --method consistency --task digits

The student f should give the same image all along a trajectory of the teacher's ODE. One point is a real image
with noise; a step of the teacher leads to its neighbour; f at the point is drawn towards a target network at the
neighbour, an average of f's weights. There is no critic.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.training.distiller import Batch, Distiller, Noised, Recipe, TrainingContext


class ConsistencyRecipe(Recipe):
    """What every recipe has, and two numbers of our own: `--set segments=12` changes one."""

    segments: int = Field(18, ge=1, le=1000)
    """Pieces of the noise grid; the teacher goes over one in one step."""
    target_decay: float = Field(0.9, ge=0, lt=1)
    """Decay of the target network; 0: the target is the student as it is."""


class Consistency(Distiller[ConsistencyRecipe]):
    """Consistency distillation: the student agrees with its average one ODE step of the teacher further on."""

    name = "consistency"
    recipe_model = ConsistencyRecipe
    # By scale or task name; the rest are the defaults of the recipe class.
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
        loss = (self.generator(*point) - target).square().mean()
        self.backward_and_step(self.generator, loss)
        self.update_target(self.target)
        return {"loss/consistency": loss.detach()}
