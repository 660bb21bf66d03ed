"""Where the images of an evaluation come from: a sampler that makes them, or images that are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.numerics import tf32
from bench.features.batch import ImageBatch
from bench.models.samplers import BatchSeededNoise, SampleNoise, Sampler
from bench.task.base import PreparedTask
from bench.task.images import to_uint8
from bench.task.protocol import Protocol


@dataclass(frozen=True, eq=False, kw_only=True)
class Generated(ImageBatch):
    """One batch of the stream."""

    finite: bool
    """Whether the sampler's output is finite; otherwise the images are meaningless."""


class ImageSource(ABC):
    """The images of a protocol's samples, in batches of any size."""

    repetitions: int
    """The number of the protocol's repetitions that there are images of: all of them, or only the first."""
    protocol_noise: ClassVar[bool] = True
    """Whether the images are made from the noise that the protocol's samplers get, so that they can be paired."""
    seeded: ClassVar[bool] = True
    """Whether the images were made from the protocol's seeds here, so that each has one."""

    @abstractmethod
    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        """Return samples start ... stop - 1 of a repetition; a sample does not depend on its batch."""


class SampledImages(ImageSource):
    """The images that a sampler makes of the seeds and the conditions of a prepared task."""

    def __init__(self, sampler: Sampler, prepared: PreparedTask) -> None:
        self.sampler = sampler
        self.prepared = prepared
        self.repetitions = prepared.task.protocol.repetitions

    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        return generate(self.sampler, self.prepared, self.prepared.task.protocol, repetition, start, stop)


@torch.no_grad()
def generate(
    sampler: Sampler, prepared: PreparedTask, protocol: Protocol, repetition: int, start: int, stop: int
) -> Generated:
    """Generate samples start ... stop - 1 of a repetition; sample i's noise and condition depend on i alone."""
    indices = torch.arange(start, stop)
    noise = noise_of(prepared, protocol, repetition, indices)
    conditions = conditions_of(prepared, protocol, noise, indices)
    with tf32(protocol.tf32), prepared.sampling():
        images = prepared.decode(sampler(noise, conditions))
    levels = to_uint8(images, protocol.uint8).cpu()
    return Generated(
        images=levels,
        conditions=conditions.cpu(),
        indices=indices,
        prompts=prepared.prompts_of(indices),
        finite=bool(images.isfinite().all()),
    )


def seeds_of(protocol: Protocol, repetition: int, indices: Tensor) -> list[int]:
    """Return the seed of each sample of a repetition."""
    seeds: list[int] = (protocol.first_seed + repetition * protocol.samples + indices).tolist()
    return seeds


def noise_of(prepared: PreparedTask, protocol: Protocol, repetition: int, indices: Tensor) -> SampleNoise:
    """Return the stream of noise of samples, by the protocol's rule."""
    seeds, shape, device = seeds_of(protocol, repetition, indices), prepared.sample_shape, this_device()
    if protocol.text is not None and protocol.text.noise_batch:
        return BatchSeededNoise(seeds, shape, protocol.text.noise_batch, device)
    return SampleNoise(seeds, shape, device)


def conditions_of(prepared: PreparedTask, protocol: Protocol, noise: SampleNoise, indices: Tensor) -> Tensor:
    """Return the conditions [B, ...] of samples, on this device; random classes come from their noise."""
    device = this_device()
    if protocol.labels == "random":
        return prepared.training_condition(noise.labels(prepared.training_conditions)).to(device)
    return prepared.conditions(indices.to(device)).to(device)


def classes_of(prepared: PreparedTask, repetition: int, indices: Tensor) -> Tensor:
    """Return the classes [B] of samples on the CPU, for tasks without prompts."""
    protocol = prepared.task.protocol
    noise = noise_of(prepared, protocol, repetition, indices)
    return conditions_of(prepared, protocol, noise, indices).cpu()
