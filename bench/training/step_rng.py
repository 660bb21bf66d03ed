"""Random numbers of one training iteration: a function of (seed, iteration), so that nothing needs saving."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The random numbers of one iteration, on the CPU, in the order they are asked for.

    They depend on the run's seed and the iteration alone, so a resumed run draws what an uninterrupted one
    would. Of a batch cut into shares, one for each process and micro-batch, the numbers of all of it are drawn,
    and those of one share kept; scalars are common to all shares.
    """

    def __init__(
        self,
        seed: int,
        iteration: int,
        device: torch.device | str = "cpu",
        share: int = 0,
        shares: int = 1,
    ) -> None:
        """`share` is the place among the `shares` of the batch; tensors are moved to `device`."""
        # 32 bits: torch's CPU generator uses no more of a seed.
        state = np.random.SeedSequence([seed, iteration]).generate_state(1)[0]
        self.generator = torch.Generator().manual_seed(int(state))
        self.device = device
        self.share = share
        self.shares = shares

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn.chunk(self.shares)[self.share].to(self.device)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape of `like` (its share of it)."""
        shape = (len(like) * self.shares, *like.shape[1:])
        return self._own(torch.randn(shape, generator=self.generator))

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """`count` whole numbers, uniform in low ... high - 1 (its share)."""
        drawn = torch.randint(low, high, (count * self.shares,), generator=self.generator)
        return self._own(drawn)

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
