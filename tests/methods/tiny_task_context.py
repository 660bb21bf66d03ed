"""A distiller's inputs from a tiny task: 4x4 images, three classes, a teacher of a few thousand parameters."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bench.models.backbones.edm import EDMDenoiser
from bench.models.denoiser import Denoiser
from bench.training.distiller import Batch, Pairs, TrainingContext
from bench.training.step_rng import StepRNG
from tasks.micro.task import NetworkSpec
from tasks.micro.teacher import build_denoiser

CLASSES = 3
BATCH = 6
SHAPE = (1, 4, 4)
NETWORK = NetworkSpec(channels=(16,), patch_size=1, sigma_data=0.5, attention_head_dim=8, norm_groups=4)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=1)
def _untrained() -> EDMDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_denoiser(NETWORK, SHAPE, CLASSES).eval().requires_grad_(False)


def make_teacher() -> EDMDenoiser:
    """Return a frozen denoiser with random weights; its images are meaningless, but its gradients are valid."""
    return copy.deepcopy(_untrained())


PAIRS = Pairs(normal(1, 10, *SHAPE), normal(2, 10, *SHAPE).tanh(), torch.arange(10) % CLASSES)
"""Ten noise-image pairs; the images are not the teacher's, which no loss depends on."""


def make_pairs(count: int) -> Pairs:
    """Return the ten pairs that the recipes of these tests use."""
    assert count == len(PAIRS.noise)
    return PAIRS


def make_context(teacher: Denoiser | None = None, null_condition: Tensor | None = None) -> TrainingContext:
    """Return a distiller's training context as a task would give it, on the CPU."""
    return TrainingContext(Accelerator(cpu=True), teacher or make_teacher(), null_condition, make_pairs)


def make_batch(iteration: int = 0, size: int = BATCH) -> Batch:
    """Return the batch of an iteration; real images have other classes than those to generate."""
    return Batch(
        iteration=iteration,
        rng=StepRNG(seed=0, iteration=iteration),
        condition=torch.arange(size) % CLASSES,
        real=normal(100 + iteration, size, *SHAPE).clamp(-1, 1),
        real_condition=(torch.arange(size) + 1) % CLASSES,
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights, to check later whether they changed."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(before: dict[str, Tensor], module: nn.Module) -> bool:
    """Return whether the network's weights are still the same, bit for bit."""
    return all(torch.equal(before[name], value) for name, value in module.state_dict().items())
