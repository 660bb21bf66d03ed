"""Class accuracy: whether the feature classifier recognises the class that an image was generated for."""

from __future__ import annotations

from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.scores import score_of
from bench.task.protocol import Protocol


class Accuracy(Metric):
    """Fraction of generated images that the feature classifier assigns to their own label."""

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._correct = 0
        self._samples = 0

    def update(self, batch: Features) -> None:
        """Count the images that are classified as their own label."""
        found = score_of(batch, "accuracy", self.info.name)
        self._correct += int(found.sum())
        self._samples += len(found)

    def result(self) -> Measured:
        """Return the fraction in [0, 1]. Raises UserError if there are too few images."""
        self.require(self._samples, "generated", defined=1)
        return Measured(self._correct / self._samples, self._samples, {"correct": self._correct})
