"""Where networks run."""

from __future__ import annotations

import torch
from accelerate import PartialState


def this_device() -> torch.device:
    """This process's GPU, else the CPU: other accelerators have no float64."""
    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device
