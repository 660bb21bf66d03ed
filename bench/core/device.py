"""The device that networks run on."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# Without it a GPU has no deterministic matrix products. It is read once, at the first product of a process, which
# may be long before a run that asks for them.
os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")


def this_device() -> torch.device:
    """Return this process's GPU, or the CPU if there is none; other accelerators have no float64."""
    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device
