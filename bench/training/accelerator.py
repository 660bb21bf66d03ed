"""The accelerator that a training runs on: one process or several, in the recipe's precision."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs

from bench.training.recipe import Recipe


def accelerator_of(recipe: Recipe, cpu: bool = False) -> Accelerator:
    """Return the accelerator that a recipe trains on; with `cpu`, on the CPU even where there is a GPU.

    Its autocast casts the weights anew in every call of a network. Kept casts would be those of the weights before
    a step of the optimiser, where a method calls a network again after it. And older versions of torch use the
    kept casts of a call without gradients in one with them, so that the weights get no gradient
    (github.com/pytorch/pytorch/issues/158232).

    Under DDP the gradients are views of the buffers in which processes exchange them, so that they are there once
    and not twice.
    """
    mixed = "bf16" if recipe.precision == "bf16" else "no"
    handlers = [AutocastKwargs(cache_enabled=False), DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
    return Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=handlers)
