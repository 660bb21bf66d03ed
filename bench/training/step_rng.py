"""Random numbers of a training iteration: a function of (seed, iteration), which no checkpoint has to contain."""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bench.core.transfers import sent


class StepRNG:
    """The random numbers of one iteration, generated on the CPU in the order of the calls.

    They depend only on the run's seed and the iteration, so a resumed run draws the numbers of an uninterrupted
    one. A batch is cut into shares, one for each process and micro-batch: the numbers of the whole batch are
    drawn, and those of one share are returned. Scalars are common to all shares.
    """

    def __init__(
        self,
        seed: int,
        iteration: int,
        device: torch.device | str = "cpu",
        share: int = 0,
        shares: int = 1,
    ) -> None:
        """Seed the generator. `share` is the index of this share of `shares`; tensors are moved to `device`."""
        # torch's CPU generator uses 32 bits of a seed.
        state = np.random.SeedSequence([seed, iteration]).generate_state(1)[0]
        self.generator = torch.Generator().manual_seed(int(state))
        self.device = device
        self.share = share
        self.shares = shares

    def of_all_shares(self) -> StepRNG:
        """Return the same source of numbers, which gives those of the whole batch; `own` is this share of them."""
        whole = copy.copy(self)
        whole.share, whole.shares = 0, 1
        return whole

    def own(self, drawn: Tensor) -> Tensor:
        """Return this share of what was drawn for the whole batch."""
        return drawn.chunk(self.shares)[self.share]

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal noise in the shape of `like`, this share of the batch."""
        shape = (len(like) * self.shares, *like.shape[1:])
        return sent(self.own(torch.randn(shape, generator=self.generator)), self.device)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """Draw `count` integers for this share, uniform in low ... high - 1."""
        return sent(self._integers(low, high, count), self.device)

    def positions(self, size: int, count: int) -> Tensor:
        """Draw `count` positions in `size` items of data for this share. They stay on the CPU, as the data do."""
        return self._integers(0, size, count)

    def _integers(self, low: int, high: int, count: int) -> Tensor:
        return self.own(torch.randint(low, high, (count * self.shares,), generator=self.generator))

    def integer(self, low: int, high: int) -> int:
        """Draw one integer, uniform in low ... high - 1, the same in every process."""
        return int(torch.randint(low, high, (), generator=self.generator))


def data_order(size: int, seed: int, start: int, count: int) -> np.ndarray:
    """Return the items at positions start ... start + count - 1 of an endless shuffled order of `size` items.

    Each epoch is a permutation that depends only on (seed, epoch), so resuming requires no saved state.
    """
    positions = np.arange(start, start + count)
    epochs = positions // size
    return np.concatenate(
        [_epoch(size, seed, int(epoch))[positions[epochs == epoch] % size] for epoch in np.unique(epochs)]
    )


@lru_cache(maxsize=4)
def _epoch(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)
