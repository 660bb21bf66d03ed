"""Full precision for feature networks: their numbers are part of the protocol, and no setting changes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from bench.core.numerics import tf32


@contextlib.contextmanager
def frozen_network(device: torch.device) -> Iterator[None]:
    """Run a network as it was published: in float32, without TF32, autocast or gradients."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), tf32(False):
        yield
