"""A second time input of a network: how far along the ODE its output leads."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class IntervalEmbedding(nn.Module):
    """An embedding of an interval of time, which is added to the network's embedding of the time itself.

    The interval is in rectified flow's time, from 0 to 1. Its features are cosines and sines of at most `waves`
    half periods, so that derivatives stay small. At first the embedding is 0: the network's output is the same.
    """

    def __init__(self, width: int, waves: int = 8) -> None:
        """`width` is the size of the network's embedding of the time."""
        super().__init__()
        self.linear = nn.Linear(2 * waves, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("rates", torch.pi * torch.arange(1.0, waves + 1), persistent=False)

    def forward(self, interval: Tensor) -> Tensor:
        """Embed intervals: [B] -> [B, width]."""
        phase = interval.to(self.linear.weight.dtype)[:, None] * self.get_buffer("rates")
        embedded: Tensor = self.linear(torch.cat([phase.cos(), phase.sin()], 1))
        return embedded
