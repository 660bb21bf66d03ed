"""A tiny SDXL as the teacher of tests that train text-to-image students."""

from __future__ import annotations

from functools import lru_cache

import torch
from accelerate import Accelerator
from text_pipelines import SIDE, tiny_unet

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.training.distiller import Pairs, TrainingContext

LAYOUT = ConditionLayout(tokens=77, width=40, pooled=24)


@lru_cache(maxsize=1)
def teacher() -> StableDiffusionDenoiser:
    """Its UNet, frozen; methods copy it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = tiny_unet(sdxl=True)
    return StableDiffusionDenoiser(unet, VPSchedule(), LAYOUT, resolution=SIDE).eval().requires_grad_(False)


def text_context(latent: bool = False) -> TrainingContext:
    """The context of a method on this teacher, whose null condition is zero (official code), without pairs."""
    return TrainingContext(Accelerator(cpu=True), teacher(), torch.zeros(1, LAYOUT.size), _no_pairs, latent=latent)


def _no_pairs(count: int) -> Pairs:
    raise AssertionError(f"{count} pairs asked for")
