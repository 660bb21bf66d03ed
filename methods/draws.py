"""Random numbers of one training iteration: a function of (seed, iteration), so that nothing needs saving."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The random numbers of one iteration, on the CPU, in the order they are asked for.

    They depend on the run's seed and the iteration alone, so a resumed run draws what an uninterrupted one
    would. With several processes, each draws the whole batch's numbers and keeps its own share; scalars
    are common to all.
    """

    def __init__(
        self,
        seed: int,
        iteration: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """`rank` of `world_size` processes; tensors are moved to `device`."""
        # 32 bits: torch's CPU generator uses no more of a seed.
        state = np.random.SeedSequence([seed, iteration]).generate_state(1)[0]
        self.generator = torch.Generator().manual_seed(int(state))
        self.device = device
        self.rank = rank
        self.world_size = world_size

    def _share(self, drawn: Tensor) -> Tensor:
        return drawn.chunk(self.world_size)[self.rank].to(self.device)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape of `like` (this process's share of it)."""
        shape = (len(like) * self.world_size, *like.shape[1:])
        return self._share(torch.randn(shape, generator=self.generator))

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """`count` whole numbers, uniform in low ... high - 1 (this process's share)."""
        drawn = torch.randint(low, high, (count * self.world_size,), generator=self.generator)
        return self._share(drawn)

    def integer(self, low: int, high: int) -> int:
        """One whole number, uniform in low ... high - 1, the same in every process."""
        return int(torch.randint(low, high, (), generator=self.generator))


def data_order(size: int, seed: int, start: int, count: int) -> np.ndarray:
    """Positions start ... start + count - 1 of an endless shuffled walk over `size` items.

    Each epoch is its own permutation, made from (seed, epoch): the order needs no state to be resumed.
    """
    positions = np.arange(start, start + count)
    epochs = positions // size
    return np.concatenate(
        [_epoch(size, seed, int(epoch))[positions[epochs == epoch] % size] for epoch in np.unique(epochs)]
    )


@lru_cache(maxsize=4)
def _epoch(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)
