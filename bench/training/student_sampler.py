"""The sampler of a student, with the description that records contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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
