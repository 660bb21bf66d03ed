"""Training inputs of few-step students: pure noise, the student's own samples, or noised images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.models.schedules import NoiseSchedule, per_sample
from bench.training.context import Batch, Noised


@torch.no_grad()
def backward_simulation(
    student: Callable[[Tensor, Tensor, Tensor], Tensor], schedule: NoiseSchedule, times: Tensor, batch: Batch
) -> Noised:
    """Generate the student's input at one of its steps by sampling the steps before it (DMD2, Sec. 4.5).

    `times` [N] are the times of the student's steps, descending. The step is drawn once for the batch and for all
    processes; inputs at the first step are pure noise.
    """
    noise = batch.rng.normal(batch.real)
    first = times[0].expand(len(noise))
    step = batch.rng.integer(0, len(times)) if len(times) > 1 else 0
    if step == 0:
        return Noised(schedule.prior(noise, first), first, batch.condition)
    # The simulated trajectory has its own noise, because correlated noise causes artefacts.
    x_t, x0 = schedule.prior(batch.rng.normal(noise), first), noise
    for k in range(step):
        t = times[k].expand(len(noise))
        if k > 0:
            x_t = schedule.add_noise(x0, batch.rng.normal(noise), t)
        x0 = student(x_t, t, batch.condition)
    t = times[step].expand(len(noise))
    return Noised(schedule.add_noise(x0, noise, t), t, batch.condition)


@torch.no_grad()
def noised_real_inputs(schedule: NoiseSchedule, times: Tensor, batch: Batch) -> Noised:
    """Make the inputs of earlier work: real images, noised to a step drawn for each sample; step 0 is pure noise.

    `times` [N] are the times of the student's steps, descending.
    """
    noise = batch.rng.normal(batch.real)
    pure = schedule.prior(noise, times[0].expand(len(noise)))
    if len(times) == 1:
        return Noised(pure, times[0].expand(len(noise)), batch.condition)
    steps = batch.rng.integers(0, len(times), len(noise))
    t = times[steps]
    first = (steps == 0).reshape(-1, *[1] * (noise.ndim - 1))
    x_t = torch.where(first, pure, schedule.add_noise(batch.real, noise, t))
    return Noised(x_t, t, batch.real_condition)


@torch.no_grad()
def ode_step(
    teacher: Callable[[Tensor, Tensor, Tensor], Tensor], schedule: NoiseSchedule, noised: Noised, s: Tensor
) -> Noised:
    """Follow the teacher's ODE from noised images to the times s [B] in one DDIM step.

    The image and the noise that the teacher predicts at x_t are combined again for s.
    """
    x_t, t, condition = noised
    return Noised(schedule.ode_point(x_t, teacher(x_t, t, condition), t, s), s, condition)


@torch.no_grad()
def heun_step(
    teacher: Callable[[Tensor, Tensor, Tensor], Tensor], schedule: NoiseSchedule, noised: Noised, s: Tensor
) -> Noised:
    """Follow the teacher's ODE from noised images to the times s [B] in one step of Heun's method (EDM, Alg. 1).

    In y = x_t / alpha and the noise level l, the slope dy/dl is the predicted noise: here it is the mean of those
    at both ends. The times have alpha > 0.
    """
    x_t, t, condition = noised
    x0 = teacher(*noised)
    eps, ahead = schedule.noise_in(x_t, x0, t), Noised(schedule.ode_point(x_t, x0, t, s), s, condition)
    change = schedule.noise_in(ahead.x_t, teacher(*ahead), s) - eps
    alpha_s, level_s = schedule.alpha(s), schedule.sigma(s) / schedule.alpha(s)
    step = level_s - schedule.sigma(t) / schedule.alpha(t)
    return Noised(ahead.x_t + per_sample(alpha_s * step / 2, change) * change, s, condition)
