"""The device that networks run on."""

from __future__ import annotations

import torch
from accelerate import PartialState


def this_device() -> torch.device:
    """Return this process's GPU, or the CPU if there is none; other accelerators have no float64."""
    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device
