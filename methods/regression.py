"""Plain regression distillation (Luhman & Luhman, 2021): the student fits the teacher's noise-image pairs."""

from __future__ import annotations

from torch import Tensor

from bench.training.distiller import Batch, Distiller, TrainingContext
from methods.perceptual import distance_of
from methods.recipes import RegressionRecipe


class RegressionDistiller(Distiller[RegressionRecipe]):
    """The distiller with one network and one loss: the distance of G(z) and y over the teacher's pairs (z, y)."""

    recipe_model = RegressionRecipe

    def __init__(self, recipe: RegressionRecipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.add_student()
        self.distance = distance_of(recipe, context)
        self.pairs = context.make_pairs(recipe.pairs)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        pairs = self.pairs.sample(batch)
        t = self.step_time(0, len(pairs.noise))
        made = self.generator(self.schedule.prior(pairs.noise, t), t, pairs.condition)
        loss = self.distance(made, pairs.image)
        self.backward_and_step(self.generator, loss)
        return {"loss/regression": loss.detach(), **self.statistics(made)}
