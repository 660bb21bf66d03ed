"""DMD on a small text-to-image UNet, with three networks on one base or each with its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from accelerate import Accelerator
from text_pipelines import LATENT_SIDE, SIDE, normal, one_level_unet
from torch import Tensor, nn

from bench.models.backbones import flux, sd3
from bench.models.backbones.base import BackboneFamily
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import FlowSchedule, VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, Distiller, Pairs, TrainingContext
from bench.training.step_rng import StepRNG
from bench.training.trained_model import TrainedModel

LAYOUT = ConditionLayout(tokens=3, width=8, pooled=8)
LATENTS = (4, LATENT_SIDE, LATENT_SIDE)
LORAS = {"lora_rank": 3, "critic_lora_rank": 2, "critic_lora_alpha": 4.0}
ONE_BASE = {"one_base": True, **LORAS}
SETTINGS = {"guidance_scale": 3.0, "batch_size": 2, "warmup": 0, "lr": 1e-3, "critic_lr": 1e-3} | {
    "critic_updates_per_generator_update": 1
}
CATALOGUE = load_catalogue()


def _unet() -> BackboneFamily:
    return StableDiffusionDenoiser(one_level_unet(), VPSchedule(), LAYOUT, resolution=SIDE)


def _sd3() -> BackboneFamily:
    network = sd3.small_network(LATENTS, width=16, layers=2, heads=2, text_width=LAYOUT.width, pooled=8)
    return sd3.SD3Denoiser(network, FlowSchedule(), LAYOUT)


def _flux() -> BackboneFamily:
    network = flux.small_network(LATENTS, width=16, layers=(1, 1), heads=1, text_width=LAYOUT.width, pooled=8)
    return flux.FluxDenoiser(network, FlowSchedule(), LAYOUT, side=LATENT_SIDE)


FAMILIES = {"text": _unet, "sd3": _sd3, "flux": _flux}


@lru_cache
def _teacher(family: str) -> BackboneFamily:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FAMILIES[family]().eval().requires_grad_(False)


def make_teacher(family: str = "text") -> BackboneFamily:
    """Return a frozen teacher of a family, with random weights."""
    return copy.deepcopy(_teacher(family))


def no_pairs(count: int) -> Pairs:
    raise AssertionError(f"{count} pairs asked for")


def make(
    name: str = "dmd2-4step",
    teacher: BackboneFamily | None = None,
    accelerator: Accelerator | None = None,
    **values: Any,
) -> Distiller[Any]:
    """Make a method whose generator has a turn in every iteration; its LoRAs change their networks.

    Values that the method has no key for are left out.
    """
    method = CATALOGUE.methods.get(name)
    given = {**SETTINGS, **values}
    known = method.recipe_model().model_fields
    recipe = method.recipe("tiny", "paper", {key: value for key, value in given.items() if key in known})
    torch.manual_seed(0)
    null = torch.zeros(1, LAYOUT.size)
    context = TrainingContext(accelerator or Accelerator(cpu=True), teacher or make_teacher(), null, no_pairs)
    distiller = method.load()(recipe, context)
    with torch.no_grad():
        for model in distiller.models.values():
            for seed, (weight, parameter) in enumerate(trained(model).items()):
                if "lora_B" in weight:
                    parameter += 0.1 * normal(seed, *parameter.shape)
    return distiller


def make_batch(iteration: int = 0, rank: int = 0, processes: int = 1) -> Batch:
    """Return an iteration's batch of two, or a process's share of it."""
    share = slice(rank * 2 // processes, (rank + 1) * 2 // processes)
    return Batch(
        iteration=iteration,
        rng=StepRNG(0, iteration, share=rank, shares=processes),
        condition=normal(1, 2, LAYOUT.size)[share],
        real=normal(2, 2, *LATENTS)[share],
        real_condition=normal(3, 2, LAYOUT.size)[share],
    )


def trained(model: TrainedModel) -> dict[str, nn.Parameter]:
    """Return a network's trained weights by name."""
    return {name: weight for name, weight in model.network.named_parameters() if weight.requires_grad}


def gradients(distiller: Distiller[Any]) -> dict[str, Tensor]:
    """Return the gradients of the last step of each network, by its name and that of the weight."""
    return {
        f"{name}: {weight}": parameter.grad
        for name, model in distiller.models.items()
        for weight, parameter in trained(model).items()
        if parameter.grad is not None
    }


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of tensors by name, to compare with later."""
    return {name: value.detach().clone() for name, value in state.items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether tensors by name are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
