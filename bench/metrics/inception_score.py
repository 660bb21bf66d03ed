"""Inception score: how certain the classifier is of each image, and how varied the classes are."""

from __future__ import annotations

import numpy as np

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.task.protocol import Protocol

SPLITS = 10
SHUFFLE_SEED = 2020
"""Seed of the order in which images are split: images sorted by class would score 62 instead of 298."""


def inception_scores(logits: np.ndarray, splits: int) -> np.ndarray:
    """Return exp of the mean KL(p(y | x) || p(y)) within each of `splits` blocks of rows, [splits] float64.

    The logits are [n, classes], n >= splits, by convention without the bias of the last layer; split i starts at
    row i * n // splits. Source: Salimans et al. 2016, Sec. 4.
    """
    n = len(logits)
    return np.array([_score(logits[i * n // splits : (i + 1) * n // splits]) for i in range(splits)])


def _score(logits: np.ndarray) -> float:
    log_p = logits.astype(np.float64)
    log_p -= log_p.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    marginal = p.mean(axis=0)
    # A class with p = 0 in all rows adds nothing.
    log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
    return float(np.exp((p * (log_p - log_marginal)).sum(axis=1).mean()))


class InceptionScore(Metric):
    """The mean over ten splits of the images in a fixed random order, as in torch-fidelity."""

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._batches: list[np.ndarray] = []

    def update(self, batch: Features) -> None:
        """Add the batch's logits. Raises UserError if the feature network has none."""
        if batch.logits is None:
            raise UserError(
                f"metric {self.info.name!r} reads the logits of a classifier, but the features "
                f"{self.protocol.features!r} have none; fix: leave it out, or take Inception features"
            )
        self._batches.append(batch.logits)

    def result(self) -> Measured:
        """Return the score, the spread of the splits, and the score of all images as one split."""
        samples = sum(map(len, self._batches))
        self.require(samples, "generated", defined=SPLITS)
        logits = np.concatenate(self._batches)
        order = np.random.RandomState(SHUFFLE_SEED).permutation(samples)
        scores = inception_scores(logits[order], SPLITS)
        diagnostics = {
            "splits": SPLITS,
            "split_std": float(scores.std()),
            "one_split": float(inception_scores(logits, 1)[0]),
        }
        return Measured(float(scores.mean()), samples, diagnostics)
