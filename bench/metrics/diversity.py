"""Diversity: how unlike each other the images of one prompt are, over prompts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bench.metrics.base import AnyReference, Measured, Metric, row_blocks
from bench.metrics.catalogue import DIVERSITY, MetricInfo
from bench.metrics.scores import Scores, score_of
from tasks.protocol import Protocol
from tasks.views import Features

RESAMPLES = 10_000
SEED = 0
BLOCK = 2**21
"""Numbers drawn at once."""


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Percentile interval of the mean of independent values [n], in float64; n >= 1.

    Valid because a mean of resampled values has no bias; a Fréchet distance of resampled images has.
    Source: Efron and Tibshirani 1993, ch. 13.
    """
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for rows in row_blocks(resamples, max(1, BLOCK // len(values))):
        means[rows] = values[rng.integers(len(values), size=(len(means[rows]), len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Diversity(Metric):
    """Mean over prompts of the mean LPIPS between a prompt's images, with a bootstrap interval over prompts.

    Noise is diverse, too: a protocol that has this metric has one that says how well the images fit their prompts.
    """

    info: ClassVar[MetricInfo] = DIVERSITY

    def __init__(self, reference: AnyReference | None, protocol: Protocol) -> None:
        super().__init__(reference, protocol)
        self._prompts = Scores(self.info.name)
        self._images = 0

    def update(self, batch: Features) -> None:
        """Keep the batch's values, one of each prompt. Raises UserError if it has none."""
        self._prompts.update(score_of(batch, self.info.name, self.info.name))
        self._images += len(batch)

    def result(self) -> Measured:
        """Mean over prompts, and its interval."""
        values = self._prompts.values()
        self.require(len(values), "prompts'", defined=2)
        low, high = bootstrap_interval(values)
        diagnostics: dict[str, float | int | bool] = {
            "prompts": len(values),
            "standard_error": float(values.std(ddof=1) / len(values) ** 0.5),
            "low": low,
            "high": high,
            "lowest_prompt": float(values.min()),
        }
        return Measured(float(values.mean()), self._images, diagnostics)
