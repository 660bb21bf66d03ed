"""Full precision for feature networks: their numbers are part of the protocol, and no setting changes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Forbid TF32 in convolutions and matrix products within a `with` block."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = False
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


@contextlib.contextmanager
def frozen_network(device: torch.device) -> Iterator[None]:
    """Run a network as it was published: in float32, without TF32, autocast or gradients."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), full_float32():
        yield
