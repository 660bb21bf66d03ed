"""Decoupled DMD's second term: classifier-free guidance at times of its own (Liu et al., 2025, arXiv 2511.22677).

With a guided teacher, DMD moves an image along the sum of two directions: CFG augmentation, (w - 1) (r_c - r_u),
which drives quality, and distribution matching without guidance, r_c - f_c, which keeps it in bounds. (r and f are
the images of teacher and critic, with the condition or without it.) Here each has its own times and divisor. There
is no reference code, and the public versions differ:

    method                    augmentation's times        factor  matching's times  divisor of each direction
    decoupled-dmd             cleaner than the student's  w - 1   uniform           mean |x - r_c|
    decoupled-dmd-cdm         U(0, student's), clamped    w       uniform           mean |x - r_c|, at least 0.1
    decoupled-dmd-senseflow   cleaner by 5 of 1,000       w - 1   logit-normal      its own mean absolute value

The first is what the authors wrote of Z-Image's training (Z-Image #56, #78; dmdr #4). The second is CDM's code,
whose squared error has no factor 1/2 (dm_weight 2). It draws a flow's time uniformly for both terms; here
positions on the schedule's grid are uniform. That is the same on a flow's grid without shift; with shift 3 half of
matching's times are above 0.75 instead of 0.5, and on EDM's grid more of augmentation's times have little noise.
The third is that of AaronCaoZJ/SenseFlow, which draws w from U(2, 8). Its last version subtracts these directions
from the image, with the sign of a difference of velocities: descent then leads away from the teacher. Here it has
the sign of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.training.context import Batch, Noised, TrainingContext
from methods.losses import augmentation_loss
from methods.matching_times import augmentation_times
from methods.terms import MatchingRecipe


class Augmentation:
    """CFG augmentation with a task's teacher, as a loss of generated images."""

    def __init__(self, recipe: MatchingRecipe, context: TrainingContext) -> None:
        """Raises UserError if the recipe has no guidance, or the teacher no null condition."""
        if context.null_condition is None:
            raise UserError(
                "decoupled=true makes a term of the teacher's guidance, but this task's teacher was trained "
                "without a null condition; fix: choose a task with one (scenes, coco10k), or --set decoupled=false"
            )
        if recipe.guidance_scale == 1:
            raise UserError(
                "decoupled=true makes a term of the teacher's guidance, and guidance_scale is 1: there is none; "
                "fix: --set guidance_scale=3, or --set decoupled=false"
            )
        self.recipe = recipe
        self.teacher = context.teacher
        self.null_condition = context.null_condition.to(context.accelerator.device)
        self.factor = recipe.guidance_scale - (1 if recipe.ca_factor == "w-1" else 0)

    def loss(self, image: Tensor, start: Noised, batch: Batch) -> Tensor:
        """Return the loss of images [B, C, H, W] that the student made from `start`."""
        recipe, schedule = self.recipe, self.teacher.schedule
        t = augmentation_times(schedule, batch, recipe.dm_range, start.t, recipe.ca_times)
        with torch.no_grad():
            x_t = schedule.add_noise(image, batch.rng.normal(image), t)
            conditions = torch.cat([start.condition, self.null_condition.expand_as(start.condition)])
            both = self.teacher(torch.cat([x_t, x_t]), torch.cat([t, t]), conditions)
        conditional, unconditional = both.chunk(2)
        return augmentation_loss(image, conditional, unconditional, self.factor, recipe.dm_divisor)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean over a batch of the cosine between two directions [B, ...]."""
    return torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1)).mean()
