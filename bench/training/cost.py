"""The cost of a training before it is run: passes of each network, and the memory of weights. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

BYTES = 4
"""Of a float32 number."""


class Passes(NamedTuple):
    """Passes of a batch through one network over a whole training."""

    forward: int
    backward: int


@dataclass(frozen=True)
class Cost:
    """A whole training, counted in networks of the teacher's size."""

    passes: Mapping[str, Passes]
    """By network, or by the part of one that runs alone."""
    generator_updates: int
    trained: int = 1
    """Networks with gradients and Adam's two moments."""
    averages: int = 0
    """Further copies of weights: the student's average, target networks."""

    def least_memory(self, parameters: int) -> int:
        """Return the bytes that networks of so many parameters take in training, activations aside.

        They are the weights of the teacher; weights, gradients and two moments of each trained network; averages.
        """
        return (1 + 4 * self.trained + self.averages) * BYTES * parameters


def memory_holder(sharding: str) -> str:
    """Say in words whose memory `least_memory` counts, for a recipe's `sharding`."""
    return "each GPU" if sharding == "none" else "all GPUs together"
