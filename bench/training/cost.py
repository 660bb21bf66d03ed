"""The cost of a training, known before it runs: passes of each network and memory of weights. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

BYTES = 4
"""Size of a float32 number."""
HALF = 2
"""Size of a bf16 number."""
BACKWARD = 2
"""Forward passes that take as long as one backward pass: the gradients of the weights, and of the activations."""
ENCODER = "'s encoder"
"""End of the name of a network of which only the encoder runs, such as a critic that discriminates."""


class Passes(NamedTuple):
    """Numbers of passes through one network over a whole training: of batches, or of single images."""

    forward: int
    backward: int


NO_PASSES = Passes(0, 0)


def work(passes: Mapping[str, Passes]) -> float:
    """Return the work of passes in forward passes through a whole network of the teacher's size.

    A backward pass counts 2, and a pass of an encoder alone half of one of the whole network. Of passes of batches
    it is in batches, of passes of images in images. The small heads of discriminators are not counted.
    """
    return sum(
        (one.forward + BACKWARD * one.backward) * (0.5 if name.endswith(ENCODER) else 1)
        for name, one in passes.items()
    )


@dataclass(frozen=True)
class Cost:
    """The cost of a whole training, counted in networks of the teacher's size."""

    passes: Mapping[str, Passes]
    """Passes of a batch by network, or by the part of a network that runs alone."""
    generator_updates: int
    trained: int = 1
    """Number of networks with gradients and Adam's two moments."""
    averages: int = 0
    """Number of further copies of the weights: the student's EMA, target networks."""

    @property
    def work(self) -> float:
        """The work of the whole training, in forward passes of a batch through a whole network (`work`)."""
        return work(self.passes)

    def least_memory(self, parameters: int) -> int:
        """Return the bytes that networks with this number of parameters take in training, without activations.

        They are the weights of the teacher; weights and two moments of each trained network, and the gradients of
        one of them, since they are freed after its step; averages.
        """
        return (1 + 3 * self.trained + min(self.trained, 1) + self.averages) * BYTES * parameters


def not_counted(one_base: bool) -> str:
    """Return a phrase for what training takes beside `least_memory`, given a recipe's `one_base`."""
    return "plus the LoRAs and activations" if one_base else "plus activations"


def memory_holder(sharding: str) -> str:
    """Return a phrase for the GPUs whose memory `least_memory` counts, given a recipe's `sharding`."""
    return "each GPU" if sharding == "none" else "all GPUs together"
