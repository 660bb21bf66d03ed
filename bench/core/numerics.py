"""How a GPU computes: TF32 and deterministic kernels, which recipes and protocols set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from bench.core.errors import UserError, first_line


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in float32 convolutions and matrix products within a `with` block.

    Raises UserError if somebody set `fp32_precision`, which would hold instead.
    """
    before = _tf32_flags()
    _set_tf32_flags((allowed, allowed))
    try:
        _tf32_flags()
        yield
    finally:
        _set_tf32_flags(before)


def tf32_allowed() -> bool:
    """Return whether TF32 is allowed in convolutions or matrix products, on a GPU that this process has."""
    return torch.cuda.is_available() and any(_tf32_flags())


def _tf32_flags() -> tuple[bool, bool]:
    """Return whether TF32 is allowed in convolutions, and in matrix products.

    Raises UserError if they were set through `fp32_precision`, which torch 2.9 added: these flags, which all
    versions have, do not change it, and torch refuses to read them beside it.
    """
    try:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    except RuntimeError as error:
        raise UserError(
            f"TF32 was set through fp32_precision of torch.backends ({first_line(error)}), where recipes and "
            "protocols set allow_tf32; fix: take that line out of the plug-in, and --set tf32=true or tf32=false"
        ) from error


def _set_tf32_flags(flags: tuple[bool, bool]) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


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
