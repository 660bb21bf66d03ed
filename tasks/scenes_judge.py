"""The judge of scenes: networks that read the kind and the colour of each item, and the features of FD."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.data.scenes import COLOURS, ITEM, KINDS

ITEM_ANSWERS = (len(KINDS), len(COLOURS))
"""Logits of an item: of its kind, then of its colour."""
SCENE_ANSWERS = ITEM_ANSWERS * 2
"""Of a scene: the left item's, then the right one's."""


def answers_loss(sizes: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of several questions at once: logits [B, sum of sizes], answers [B, questions]."""

    def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
        parts = zip(logits.split(sizes, 1), answers.unbind(1), strict=True)
        return torch.stack([F.cross_entropy(part, answer) for part, answer in parts]).sum()

    return loss_of


def most_probable(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Logits [B, sum of sizes] -> the most probable answer to each question, [B, questions]."""
    return torch.stack([part.argmax(1) for part in logits.split(sizes, 1)], 1)


def halves(images: Tensor) -> Tensor:
    """Cut scenes [B, 3, H, W] into the halves that an item is in: [2B, 3, H, W / 2], a scene's left one first."""
    return torch.stack(images.split(ITEM, 3), 1).flatten(0, 1)
