"""How a GPU computes: TF32 and deterministic kernels, which recipes and protocols set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in float32 convolutions and matrix products within a `with` block."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def tf32_allowed() -> bool:
    """Return whether TF32 is allowed in convolutions or matrix products, on a GPU that this process has."""
    backends = torch.backends
    return torch.cuda.is_available() and (backends.cuda.matmul.allow_tf32 or backends.cudnn.allow_tf32)


@contextlib.contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Within a `with` block, let a GPU compute the same bits every time, or leave everything as it is.

    An operation that has no deterministic kernel raises RuntimeError with its name. Products of matrices have one
    with the workspace of bench/core/device.py. A CPU computes the same bits in any case.
    """
    if not on:
        yield
        return
    cudnn = torch.backends.cudnn
    kernels: Any = torch.utils.deterministic  # a module whose attributes are made when they are asked for
    before = torch.are_deterministic_algorithms_enabled(), kernels.fill_uninitialized_memory
    before_cudnn = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    kernels.fill_uninitialized_memory = False  # it would run a kernel for every new tensor
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        kernels.fill_uninitialized_memory = before[1]
        cudnn.deterministic, cudnn.benchmark = before_cudnn
