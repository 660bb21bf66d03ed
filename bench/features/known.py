"""Known answers of feature extractors: images made by a formula, with the scores or features they must get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class KnownImages:
    """Images whose scores or features are known, that `bench metrics check` shows to an extractor.

    An extractor gives its own in `FeatureExtractor.known_answers`, where they are known without weights or for
    the published ones alone.
    """

    case: str
    """In words: the images, and why their answer is known."""
    images: np.ndarray
    """uint8 [B, C, H, W]."""
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The expected scores, by name: one for each image, or for each group of images of a prompt."""
    features: np.ndarray | None = None
    """The expected features [B, D], if they are known."""
    prompts: Sequence[str] = ()
    """One prompt for each image, if the extractor reads prompts."""
    tolerance: float = 1e-5
    """The greatest absolute difference that is right."""
