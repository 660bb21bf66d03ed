"""A distiller's inputs from a tiny flow task: latents, and a Stable Diffusion 3 of some thousand parameters."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from accelerate import Accelerator
from tiny_task_context import normal

from bench.models.backbones.sd3 import SD3Denoiser, small_network
from bench.models.schedules import FlowSchedule
from bench.models.text.layout import ConditionLayout
from bench.training.distiller import Batch, Pairs, TrainingContext
from bench.training.step_rng import StepRNG

LAYOUT = ConditionLayout(tokens=3, width=8, pooled=6)
LATENTS = (4, 8, 8)
BATCH = 4
SHIFT = 3.0
"""The shift of SD3's own schedule."""
NULL = normal(8, 1, LAYOUT.size)
PAIRS = Pairs(normal(1, 10, *LATENTS), normal(2, 10, *LATENTS), normal(3, 10, LAYOUT.size))
"""Ten noise-image pairs; the images are not the teacher's, which no loss depends on."""


@lru_cache(maxsize=1)
def _untrained() -> SD3Denoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = small_network(
            LATENTS, width=16, layers=2, heads=2, text_width=LAYOUT.width, pooled=LAYOUT.pooled
        )
        return SD3Denoiser(network, FlowSchedule(SHIFT), LAYOUT).eval().requires_grad_(False)


def make_teacher() -> SD3Denoiser:
    """Return a frozen denoiser with random weights; its images are meaningless, but its gradients are valid."""
    return copy.deepcopy(_untrained())


def make_context(teacher: SD3Denoiser | None = None) -> TrainingContext:
    """Return a distiller's training context as a text-to-image task would give it, on the CPU."""
    return TrainingContext(Accelerator(cpu=True), teacher or make_teacher(), NULL, lambda _: PAIRS, latent=True)


def make_batch(iteration: int = 0, size: int = BATCH, share: int = 0, shares: int = 1) -> Batch:
    """Return a share of the batch of an iteration; real latents have other prompts than those to generate."""
    condition, real_condition = (normal(seed + iteration, size, LAYOUT.size) for seed in (100, 200))
    parts = condition, normal(300 + iteration, size, *LATENTS), real_condition
    rng = StepRNG(seed=0, iteration=iteration, share=share, shares=shares)
    return Batch(iteration, rng, *(part.chunk(shares)[share] for part in parts))
