"""The sets behind the known answers of the built-in metrics, with their values in closed form."""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np


class TwoGaussians(NamedTuple):
    """Two sets of features with exact means and covariances, and their squared Fréchet distance."""

    generated: np.ndarray
    """[n, D] float64."""
    real: np.ndarray
    distance: float


def rows_with(mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return 2 K rows [2 K, D] with this sample mean [D] and sample covariance F F^T, for a factor F [D, K]."""
    count = factor.shape[1]
    steps = factor.T * math.sqrt((2 * count - 1) / 2)
    return np.concatenate([mean + steps, mean - steps])


def turned_gaussians(pairs: int = 32) -> TwoGaussians:
    """Return Gaussians of 2 `pairs` features whose covariances do not commute, far from the origin."""
    first, second, distance = turned_blocks(pairs)
    size, apart = 2 * pairs, 0.25
    centre = np.full(size, 100.0)
    generated, real = rows_with(centre, first), rows_with(centre + apart, second)
    return TwoGaussians(generated, real, distance + size * apart * apart)


def turned_blocks(pairs: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return factors F, G [2 P, 2 P] of two covariances F F^T and G G^T, and the distance of such Gaussians.

    They consist of blocks of two features, each turned by an angle of its own, for which the trace of the root has
    the closed form tr (A B)^(1/2) = (tr A B + 2 (det A det B)^(1/2))^(1/2).
    """
    first, second, distance = np.zeros((2 * pairs,) * 2), np.zeros((2 * pairs,) * 2), 0.0
    for number in range(pairs):
        a, b, c, d = 1 + number / pairs, 0.3, 0.5, 2 - number / pairs
        angle = 1 + number / 3
        cos2 = math.cos(angle) ** 2
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        block = slice(2 * number, 2 * number + 2)
        first[block, block], second[block, block] = np.diag([a, b]), turn * [c, d]
        across = (a * a * c * c + b * b * d * d) * cos2 + (a * a * d * d + b * b * c * c) * (1 - cos2)
        distance += a * a + b * b + c * c + d * d - 2 * math.sqrt(across + 2 * a * b * c * d)
    return first, second, distance


def reflected(cov: np.ndarray) -> np.ndarray:
    """Return H C H for a reflection H that mixes all features: a dense covariance, with the same distances."""
    normal = np.sqrt(np.arange(1.0, len(cov) + 1))
    mirror = np.eye(len(cov)) - 2 * np.outer(normal, normal) / (normal @ normal)
    dense: np.ndarray = mirror @ cov @ mirror
    return (dense + dense.T) / 2


def flat_gaussians(size: int = 24) -> TwoGaussians:
    """Return Gaussians that each fill two thirds of the features' directions and share one third.

    Along axes that both have, the distance adds (s - t)^2 for deviations s and t; along the others s^2 or t^2.
    """
    third = size // 3
    s, t = 1 + np.arange(2 * third) / 5, 2 - np.arange(2 * third) / 9
    axes = np.eye(size)
    generated, real = axes[:, : 2 * third] * s, axes[:, third:] * t
    distance = float((s[:third] ** 2).sum() + ((s[third:] - t[:third]) ** 2).sum() + (t[third:] ** 2).sum())
    zero = np.zeros(size)
    return TwoGaussians(rows_with(zero, generated), rows_with(zero, real), distance)


def corners(dimensions: int) -> np.ndarray:
    """Return the corners of the cube of -1 and 1, [2^D, D] float64; those that begin with 1 are the last half."""
    return np.array(list(product((-1.0, 1.0), repeat=dimensions)))


def corners_distance(dimensions: int, *, whole: bool) -> float:
    """Return the unbiased squared MMD of a cube's corners from those of the whole cube, or of the half with 1.

    Under the kernel (a.b / D + 1)^3. For signs with mean s, E s^2 = 1 / D and E s = E s^3 = 0.
    """
    d = dimensions

    def within(points: int, mean: float) -> float:
        return (points * mean - 8) / (points - 1)  # the kernel of a corner with itself is 8

    of_cube = 1 + 3 / d
    one = 1 + 1 / d  # the half's first coordinates agree; the other d - 1 have E s^2 = (d - 1) / d^2
    of_half = one**3 + 3 * one * (d - 1) / d**2
    generated = within(2**d, of_cube) if whole else within(2 ** (d - 1), of_half)
    return generated + within(2**d, of_cube) - 2 * of_cube


def line(*places: float, dimensions: int = 6, centre: float = 1000.0) -> np.ndarray:
    """Return points [n, D] at these places along a diagonal far from the origin; a place is a distance."""
    return centre + np.array(places)[:, None] * np.full(dimensions, 1 / math.sqrt(dimensions))


def certain_logits() -> np.ndarray:
    """Return logits [1000, 10] float32 of images that are in one class for certain, sorted by class."""
    return np.repeat(np.eye(10, dtype=np.float32) * 100, 100, axis=0)
