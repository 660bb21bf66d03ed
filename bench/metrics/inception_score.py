"""Inception score: how certain the classifier is of each image, and how varied the classes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import certain_logits
from bench.task.protocol import Protocol

SPLITS = 10
TEN_CLASSES = 9.644640093753834
"""The score of 1,000 images that are in ten classes for certain, by torch-fidelity: each split of the shuffled
images scores exp of the entropy of its classes, which are not quite evenly many."""
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

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return images of certain classes, and images that are all alike."""

        def given(logits: np.ndarray) -> list[Features]:
            return [Features(np.zeros((len(part), 1)), logits=part) for part in np.split(logits, [7])]

        alike = np.tile(np.array([0.5, -2.0, 3.0], np.float32), (50, 1))
        return (
            KnownAnswer("certain of ten classes, as torch-fidelity", TEN_CLASSES, given(certain_logits())),
            KnownAnswer("images that are all alike", 1.0, given(alike)),
        )

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
