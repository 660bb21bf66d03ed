"""The linear algebra and the arithmetic of devices that all metrics and feature networks build on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from bench.features.known_resizes import KNOWN_RESIZES, KnownResize, fingerprint, formula_image
from bench.features.precision import frozen_network
from bench.metrics.frechet import frechet_distance
from bench.metrics.known_sets import reflected, turned_blocks
from bench.runs.installation.checked import Checked, compared

PAIRS = 256
"""Pairs of features of the dense covariances: LAPACK works in blocks, and with threads, from such sizes on."""
RELATIVE = 1e-11
"""Rounding of LAPACK in float64, relative to the value."""
FLOAT32 = 2e-5
"""Rounding of sums in float32, relative to their size; TF32 and bfloat16 make 1e-3."""


def arithmetic_checks(device: torch.device) -> Iterator[Checked]:
    """Test LAPACK on dense covariances, and products and convolutions in full float32 on a device."""
    first, second, distance = turned_blocks(PAIRS)
    mean = np.zeros(2 * PAIRS)

    def dense() -> float:
        return frechet_distance(mean, reflected(first @ first.T), mean, reflected(second @ second.T)).value

    cut = np.where(np.arange(2 * PAIRS) < PAIRS, first, 0)
    trace = float((cut**2).sum())

    def flat() -> float:  # the root of 4 C C is 2 C, so that the distance of 4 C and C is the trace of C
        half_empty = reflected(cut @ cut.T)
        return frechet_distance(mean, 4 * half_empty, mean, half_empty).value

    case = f"Fréchet distance of {2 * PAIRS} features"
    yield compared("arithmetic", "LAPACK", f"{case}, dense", distance, RELATIVE * distance, dense)
    yield compared("arithmetic", "LAPACK", f"{case}, without full rank", trace, RELATIVE * trace, flat)
    for name, run in (("matrix product", _product), ("convolution", _convolution)):
        yield compared("arithmetic", str(device), f"float32 {name}", 0.0, FLOAT32, partial(run, device))


def resize_checks(device: torch.device) -> Iterator[Checked]:
    """Test the resizes of the feature networks, on the CPU and, where they run there, on a device."""
    for known in KNOWN_RESIZES:
        for where in ["cpu"] + [str(device)] * (known.on_device and device.type != "cpu"):
            case = f"{known.case}: {known.width} x {known.height}"
            find = partial(_resized, known, where)
            yield compared("resize", where, case, known.expected, known.tolerance, find)


def _resized(known: KnownResize, where: str) -> float:
    return fingerprint(known.resize(formula_image(known.height, known.width).to(where)))


def _product(device: torch.device) -> float:
    """Return the largest error of a product of float32 matrices as networks compute it, relative to its size."""
    left, right = _waves(128, 512), _waves(512, 128)
    with frozen_network(device):
        found = (left.to(device) @ right.to(device)).double().cpu()
    exact = left.double() @ right.double()
    return float((found - exact).abs().max() / exact.abs().max())


def _convolution(device: torch.device) -> float:
    images, filters = _waves(64, 289).reshape(1, 64, 17, 17), _waves(64, 576).reshape(64, 64, 3, 3)
    with frozen_network(device):
        found = torch.nn.functional.conv2d(images.to(device), filters.to(device)).double().cpu()
    exact = torch.nn.functional.conv2d(images.double(), filters.double())
    return float((found - exact).abs().max() / exact.abs().max())


def _waves(rows: int, columns: int) -> torch.Tensor:
    """Return numbers [rows, columns] float32 between -1 and 1 by a formula, all of whose digits matter."""
    places = torch.arange(rows * columns, dtype=torch.float64).reshape(rows, columns)
    return torch.sin(places * places * 0.37).float()
