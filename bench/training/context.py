"""The things that a distiller is given: the task's parts to work with, and the batch of each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.training.step_rng import StepRNG


class Noised(NamedTuple):
    """A batch of noised images: x_t [B, C, H, W], their times t [B], their conditions [B]."""

    x_t: Tensor
    t: Tensor
    condition: Tensor


@dataclass(frozen=True)
class Batch:
    """The inputs of one training step, on the training device; this process's share."""

    iteration: int
    rng: StepRNG
    """The iteration's random numbers. Use no other source: then a resumed run repeats them exactly."""
    condition: Tensor
    """Conditions [B] of the images to generate."""
    real: Tensor
    """Real images [B, C, H, W] in [-1, 1]."""
    real_condition: Tensor
    """Conditions [B] of the real images."""


@dataclass(frozen=True)
class Pairs:
    """Teacher noise-image pairs: noise z and image y [N, C, H, W], condition [N], made by its ODE sampler."""

    noise: Tensor
    image: Tensor
    condition: Tensor

    def at(self, positions: Tensor, device: torch.device | str) -> Pairs:
        """Return the pairs at `positions`, on `device`."""
        return Pairs(*(part[positions].to(device) for part in (self.noise, self.image, self.condition)))

    def sample(self, batch: Batch) -> Pairs:
        """Draw as many pairs as the batch has real images, with the step's random numbers, on its device."""
        chosen = batch.rng.integers(0, len(self.noise), len(batch.real))
        return self.at(chosen.cpu(), batch.real.device)


def _as_it_is(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class TrainingContext:
    """The parts of a task that a distiller works with."""

    accelerator: Accelerator
    teacher: Denoiser
    """The frozen pretrained denoiser, mu_real."""
    null_condition: Tensor | None
    """The unconditional entry for classifier-free guidance, where the teacher knows one."""
    make_pairs: Callable[[int], Pairs]
    """Return that many teacher noise-image pairs, from the cache or made now."""
    pixels: Callable[[], Callable[[Tensor], Tensor]] = lambda: _as_it_is
    """Return the map from what the networks make to pixels, with gradients: of latents it is a decoder."""
    lpips_trunk: Callable[[], Path | None] = lambda: None
    """Return the file of LPIPS's trunk that was chosen for the task, if one was."""
    latent: bool = False
    """Whether the networks make latents and not images."""


@dataclass(frozen=True)
class MicroBatch:
    """Which of an iteration's micro-batches a training step is given: gradients are their mean."""

    index: int = 0
    count: int = 1

    @property
    def is_last(self) -> bool:
        """Whether the optimisers step after it."""
        return self.index == self.count - 1
