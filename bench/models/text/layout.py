"""How a text condition lies in one tensor, so that the engine can treat it like any other condition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ConditionLayout:
    """Token embeddings [B, L, D] flattened, then the pooled embedding [B, P] where the model has one (SDXL)."""

    tokens: int
    """L, embeddings of a prompt: 77 for CLIP."""
    width: int
    """D, numbers of an embedding: 768 for SD1.5, 2048 for SDXL."""
    pooled: int = 0
    """P, numbers of the pooled embedding: 1280 for SDXL; 0: there is none."""

    @property
    def size(self) -> int:
        """K, the numbers of one condition."""
        return self.tokens * self.width + self.pooled

    def pack(self, embeddings: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Lay out embeddings [B, L, D] and pooled [B, P] or none as [B, K]. Raises ValueError if they misfit."""
        found = (*embeddings.shape[1:], 0 if pooled is None else pooled.shape[1])
        if embeddings.ndim != 3 or found != (self.tokens, self.width, self.pooled):
            raise ValueError(f"embeddings and pooled of {found} numbers do not fit {self}")
        flat = embeddings.flatten(1)
        return flat if pooled is None else torch.cat([flat, pooled.to(flat.dtype)], 1)

    def unpack(self, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give back from [B, K] the embeddings [B, L, D] and pooled [B, P] or none; raises ValueError likewise."""
        if condition.ndim != 2 or condition.shape[1] != self.size:
            found = list(condition.shape)
            raise ValueError(f"a condition {found} does not fit [B, {self.size}] of {self}")
        split = self.tokens * self.width
        embeddings = condition[:, :split].unflatten(1, (self.tokens, self.width))
        return embeddings, condition[:, split:] if self.pooled else None
