"""The layout of a text condition in one tensor, so that the framework treats it like any other condition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ConditionLayout:
    """A layout: token embeddings [B, L, D] flattened, then the pooled embedding [B, P] if there is one (SDXL)."""

    tokens: int
    """L, the number of embeddings of a prompt: 77 for CLIP."""
    width: int
    """D, the size of an embedding: 768 for SD1.5, 2048 for SDXL."""
    pooled: int = 0
    """P, the size of the pooled embedding: 1280 for SDXL, 0 if there is none."""

    @property
    def size(self) -> int:
        """K, the size of one condition."""
        return self.tokens * self.width + self.pooled

    def pack(self, embeddings: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Pack embeddings [B, L, D] and pooled [B, P] or None as [B, K]. Raises ValueError if they do not fit."""
        found = (*embeddings.shape[1:], 0 if pooled is None else pooled.shape[1])
        if embeddings.ndim != 3 or found != (self.tokens, self.width, self.pooled):
            raise ValueError(f"embeddings and pooled of {found} numbers do not fit {self}")
        flat = embeddings.flatten(1)
        return flat if pooled is None else torch.cat([flat, pooled.to(flat.dtype)], 1)

    def unpack(self, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unpack [B, K] into embeddings [B, L, D] and pooled [B, P] or None. Raises ValueError on a misfit."""
        if condition.ndim != 2 or condition.shape[1] != self.size:
            found = list(condition.shape)
            raise ValueError(f"a condition {found} does not fit [B, {self.size}] of {self}")
        split = self.tokens * self.width
        embeddings = condition[:, :split].unflatten(1, (self.tokens, self.width))
        return embeddings, condition[:, split:] if self.pooled else None
