"""The sampler of a student, with the description that records contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise, Sampler, few_step, few_step_ode


@dataclass(frozen=True)
class StudentSampler:
    """A sampler of a student. Called with the noise and conditions [B] of samples, it returns x0 [B, C, H, W]."""

    sample: Sampler
    evaluations: int
    """Number of forward passes of the network for one image."""
    description: Mapping[str, Any]
    """The kind and the values of the sampler as JSON data, for records."""

    def __post_init__(self) -> None:
        """Raise UserError for a description that is no data, which a plug-in's sampler may have."""
        if not isinstance(self.description, Mapping):
            raise UserError(
                f"the description of the student's sampler is {self.description!r}; "
                'fix: give a dictionary, such as {"kind": "mine"}'
            )

    def __call__(self, noise: SampleNoise, condition: Tensor) -> Tensor:
        return self.sample(noise, condition)


def checked(sampler: StudentSampler, student: nn.Module) -> StudentSampler:
    """Return the sampler of a student, which then raises UserError where it does not do what its record will say.

    It passes each image through the student as often as `evaluations` says, and draws no number of torch's global
    generators, with which images would not depend on their seeds alone.
    """

    def sample(noise: SampleNoise, condition: Tensor) -> Tensor:
        passed, before = 0, _global_generators()

        def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            nonlocal passed
            passed += len(output)

        handle = student.register_forward_hook(count)
        try:
            images = sampler(noise, condition)
        finally:
            handle.remove()
        if not all(map(torch.equal, before, _global_generators())):
            raise UserError(
                "the student's sampler draws from torch's global generator, so that no image belongs to its seed; "
                "fix: draw all noise by noise.draw()"
            )
        if passed != sampler.evaluations * len(condition):
            raise UserError(
                f"the student's sampler says evaluations={sampler.evaluations}, and passes each image "
                f"{passed / len(condition):g} times through the student; "
                f"fix: return replace(..., evaluations={-(-passed // len(condition))})"
            )
        return images

    return replace(sampler, sample=sample)


def _global_generators() -> list[Tensor]:
    """Return the states of torch's global generators, of the CPU and of this process's GPU."""
    gpu = [torch.cuda.get_rng_state()] if this_device().type == "cuda" else []
    return [torch.get_rng_state(), *gpu]


def few_step_sampler(student: Denoiser, indices: Sequence[int]) -> StudentSampler:
    """Return a sampler that alternates denoising and new noise (DMD2, Sec. 4.4), on this process's device.

    `indices` are the steps' positions on the noise grid, descending.
    """
    return _on_grid("few-step", few_step, student, indices)


def ode_sampler(student: Denoiser, indices: Sequence[int]) -> StudentSampler:
    """Return a sampler that follows the student's ODE by DDIM steps, on this process's device.

    `indices` are the steps' positions on the noise grid, descending.
    """
    return _on_grid("few-step-ode", few_step_ode, student, indices)


def _on_grid(
    kind: str,
    sample: Callable[[Denoiser, SampleNoise, Tensor, Sequence[int]], Tensor],
    student: Denoiser,
    indices: Sequence[int],
) -> StudentSampler:
    """Return a sampler with one step at each of these positions of the noise grid."""
    student, indices = student.to(this_device()), list(indices)
    times = student.schedule.grid[indices].tolist()
    return StudentSampler(
        lambda noise, condition: sample(student, noise, condition, indices),
        len(indices),
        {"kind": kind, "grid_indices": indices, "times": times},
    )
