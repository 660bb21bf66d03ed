"""Predictions of networks (epsilon, v, velocity, x0), converted to x0."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from bench.models.schedules import NoiseSchedule, per_sample

Prediction = Literal["epsilon", "v", "velocity"]
"""The noise; alpha eps - sigma x (Salimans and Ho, 2022); eps - x (rectified flow; Liu et al., 2022)."""


def prediction_to_x0(
    x_t: Tensor, predicted: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: Prediction
) -> Tensor:
    """Turn a network's prediction [B, ...] at x_t [B, ...] and times t [B] into x0 of the same shape.

    In float64, because SD's 1 / alpha_t reaches 15 at t = 999. With x_t = alpha x + sigma eps:
    epsilon: x0 = (x_t - sigma eps) / alpha; v, where alpha^2 + sigma^2 = 1: x0 = alpha x_t - sigma v;
    velocity: x0 = (x_t - sigma u) / (alpha + sigma). Where alpha is 0 the noise tells nothing of x: the estimate
    is then x_t - sigma eps, which is finite, and 0 for the true noise.
    """
    alpha, sigma = (per_sample(f(t), x_t.double()) for f in (schedule.alpha, schedule.sigma))
    if prediction == "epsilon":
        x0 = (x_t.double() - sigma * predicted.double()) / alpha.masked_fill(alpha == 0, 1)
    elif prediction == "v":
        x0 = alpha * x_t.double() - sigma * predicted.double()
    else:
        x0 = (x_t.double() - sigma * predicted.double()) / (alpha + sigma)
    return x0.to(x_t.dtype)
