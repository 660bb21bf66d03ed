"""Plain regression distillation (Luhman & Luhman, 2021): repeat the teacher's noise-image pairs."""

from __future__ import annotations

from torch import Tensor

from bench.training.distiller import Batch, Distiller, Setting
from methods.perceptual import distance_of
from methods.recipes import RegressionRecipe


class RegressionDistiller(Distiller[RegressionRecipe]):
    """One network, one loss: the distance of G(z) and y over the teacher's pairs (z, y)."""

    recipe_model = RegressionRecipe

    def __init__(self, recipe: RegressionRecipe, setting: Setting) -> None:
        super().__init__(recipe, setting)
        self.add_player("generator", self.adapt(self.student_copy()), recipe.lr)
        self.release_teacher()
        self.distance = distance_of(recipe, setting)
        self.pairs = setting.make_pairs(recipe.pairs)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        chosen = batch.draws.integers(0, len(self.pairs.noise), len(batch.real)).cpu()
        pairs = self.pairs.at(chosen, batch.real.device)
        t = self.step_time(0, len(pairs.noise))
        made = self.generator.prepared(self.schedule.prior(pairs.noise, t), t, pairs.condition)
        loss = self.distance(made, pairs.image)
        self.descend(self.generator, loss)
        return {"loss/regression": loss.detach(), **self.statistics(made)}
