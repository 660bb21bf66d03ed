"""The worst and best images of a result in one metric, with what each is of and why it scores so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.evaluation.image_scores import SingleScores

End = Literal["worst", "best"]


@dataclass(frozen=True)
class ScoredImage:
    """One image, or the first image of a group of one prompt, with its score."""

    repetition: int
    index: int
    value: float
    prompt: str | None
    category: str | None
    seed: int | None
    reason: str | None


def extremes(
    scores: SingleScores, count: int, end: End, direction: Literal["lower", "higher"]
) -> list[ScoredImage]:
    """Return at most `count` images from an end of the scores, the most extreme first.

    `direction` says which scores are better. Equal scores stay in the order of repetitions and indices.
    """
    rising = (end == "worst") == (direction == "higher")
    value = scores.value if rising else -scores.value
    order = np.lexsort((scores.index, scores.repetition, value))[:count]
    return [_row(scores, place) for place in order.tolist()]


def _row(scores: SingleScores, place: int) -> ScoredImage:
    plain = (getattr(scores, name)[place] for name in ("prompt", "category", "seed", "reason"))
    return ScoredImage(int(scores.repetition[place]), int(scores.index[place]), float(scores.value[place]), *plain)


def group_size(scores: SingleScores) -> int:
    """Return how many images a score is of: 1, or all images of a prompt."""
    first = np.sort(scores.index[scores.repetition == scores.repetition[0]])
    return int(first[1] - first[0]) if len(first) > 1 else 1


def shown(images: Sequence[ScoredImage]) -> list[tuple[str, ...]]:
    """Return a line for each image: its place, seed, value, prompt and reason."""
    return [
        (
            f"{one.repetition}:{one.index}",
            "–" if one.seed is None else str(one.seed),
            f"{one.value:.6g}",
            one.prompt or "–",
            one.reason or "–",
        )
        for one in images
    ]
