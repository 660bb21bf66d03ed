"""The layout of a text condition in one tensor, so that the framework treats it like any other condition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ConditionLayout:
    """A layout: token embeddings [B, L, D] flattened, the pooled embedding [B, P] if there is one (SDXL), a mask.

    The mask [B, L], if there is one, is 1 where a token is text and 0 where it is padding: exact in every dtype.
    """

    tokens: int
    """L, the number of embeddings of a prompt: 77 for CLIP."""
    width: int
    """D, the size of an embedding: 768 for SD1.5, 2048 for SDXL."""
    pooled: int = 0
    """P, the size of the pooled embedding: 1280 for SDXL, 0 if there is none."""
    mask: bool = False
    """Whether the network may not attend to padding (SANA, PixArt)."""

    @property
    def size(self) -> int:
        """K, the size of one condition."""
        return self.tokens * self.width + self.pooled + (self.tokens if self.mask else 0)

    def require(self, width: int, pooled: int = 0, mask: bool = False) -> None:
        """Raise ValueError unless it gives what a network takes: these embeddings, pooled ones and mask."""
        if (self.width, self.pooled, self.mask) != (width, pooled, mask):
            one = f"a pooled one of {pooled}" if pooled else "no pooled one"
            raise ValueError(
                f"the network takes embeddings of {width} numbers with {'a' if mask else 'no'} mask and {one}, "
                f"which {self} does not give"
            )

    def describe(self) -> dict[str, Any]:
        """Return plain values for a description; the mask is named only where there is one."""
        return {key: value for key, value in asdict(self).items() if key != "mask" or value}

    def pack(self, embeddings: Tensor, pooled: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Pack embeddings [B, L, D], pooled [B, P] and mask [B, L], or None for what there is not, as [B, K].

        Raises ValueError if they do not fit.
        """
        found = (*embeddings.shape[1:], 0 if pooled is None else pooled.shape[1])
        if embeddings.ndim != 3 or found != (self.tokens, self.width, self.pooled):
            raise ValueError(f"embeddings and pooled of {found} numbers do not fit {self}")
        masked = None if mask is None else list(mask.shape)
        if masked != (list(embeddings.shape[:2]) if self.mask else None):
            raise ValueError(f"a mask of shape {masked} does not fit {self}")
        parts = [one for one in (embeddings.flatten(1), pooled, mask) if one is not None]
        return torch.cat([part.to(embeddings.dtype) for part in parts], 1)

    def unpack(self, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unpack [B, K] into embeddings [B, L, D] and pooled [B, P] or None. Raises ValueError on a misfit."""
        embeddings, pooled, _ = self._split(condition)
        return embeddings.unflatten(1, (self.tokens, self.width)), pooled if self.pooled else None

    def unpack_mask(self, condition: Tensor) -> Tensor:
        """Unpack the mask [B, L] of conditions [B, K]. Raises ValueError on a misfit, or if there is none."""
        if not self.mask:
            raise ValueError(f"{self} has no mask")
        return self._split(condition)[2]

    def _split(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split conditions [B, K] into their three parts, flat."""
        if condition.ndim != 2 or condition.shape[1] != self.size:
            found = list(condition.shape)
            raise ValueError(f"a condition {found} does not fit [B, {self.size}] of {self}")
        sizes = (self.tokens * self.width, self.pooled, self.tokens if self.mask else 0)
        embeddings, pooled, mask = condition.split(sizes, 1)
        return embeddings, pooled, mask
