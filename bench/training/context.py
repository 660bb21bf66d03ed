"""The inputs of a distiller: the parts of the task that it works with, and the batch of each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.core.transfers import sent
from bench.models.denoiser import Denoiser
from bench.training.step_rng import StepRNG


class Noised(NamedTuple):
    """A batch of noised images x_t [B, C, H, W] with their times t [B] and conditions [B]."""

    x_t: Tensor
    t: Tensor
    condition: Tensor


@dataclass(frozen=True)
class Batch:
    """The inputs of one training step on the training device: this process's share of them."""

    iteration: int
    rng: StepRNG
    """The iteration's random numbers. A resumed run repeats them exactly, so use no other source."""
    condition: Tensor
    """Conditions [B] of the images to generate."""
    real: Tensor
    """Real images [B, C, H, W] in [-1, 1]."""
    real_condition: Tensor
    """Conditions [B] of the real images."""


@dataclass(frozen=True)
class Pairs:
    """Noise-image pairs of the teacher's ODE sampler: noise z and image y [N, C, H, W], condition [N]."""

    noise: Tensor
    image: Tensor
    condition: Tensor

    def at(self, positions: Tensor, device: torch.device | str) -> Pairs:
        """Return the pairs at `positions`, which are on the CPU as the pairs are, on `device`."""
        return Pairs(*(sent(part[positions], device) for part in (self.noise, self.image, self.condition)))

    def sample(self, batch: Batch) -> Pairs:
        """Draw as many pairs as the batch has real images, with the step's random numbers, on its device."""
        return self.at(batch.rng.positions(len(self.noise), len(batch.real)), batch.real.device)


def _unchanged(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class TrainingContext:
    """The parts of a task that a distiller works with."""

    accelerator: Accelerator
    teacher: Denoiser
    """The frozen pretrained denoiser, mu_real."""
    null_condition: Tensor | None
    """The null condition for classifier-free guidance; None if the teacher was trained without one."""
    make_pairs: Callable[[int], Pairs]
    """Return a number of teacher noise-image pairs, from the cache if they are there."""
    pixels: Callable[[], Callable[[Tensor], Tensor]] = lambda: _unchanged
    """Return a differentiable function from the networks' images to pixels: the identity, or a decoder."""
    lpips_trunk: Callable[[], Path | None] = lambda: None
    """Return the file of LPIPS's trunk that is pinned for the task, or None."""
    latent: bool = False
    """True if the networks generate latents instead of pixels."""


@dataclass(frozen=True)
class MicroBatch:
    """The place of a micro-batch in its iteration, whose gradients are the mean over all micro-batches."""

    index: int = 0
    count: int = 1

    @property
    def is_last(self) -> bool:
        """True for the last micro-batch, after which the optimisers step."""
        return self.index == self.count - 1
