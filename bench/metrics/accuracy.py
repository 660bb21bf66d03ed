"""Class accuracy: does the feature classifier see the class that was asked for?"""

from __future__ import annotations

from typing import ClassVar

from bench.metrics.base import Extracted, Measured, Metric, Reference
from bench.metrics.catalogue import ACCURACY, MetricInfo
from tasks.protocol import Protocol


class Accuracy(Metric):
    """Fraction of generated images that the feature classifier assigns to their own label."""

    info: ClassVar[MetricInfo] = ACCURACY

    def __init__(self, reference: Reference, protocol: Protocol) -> None:
        super().__init__(reference, protocol)
        self._correct = 0
        self._samples = 0

    def update(self, batch: Extracted) -> None:
        """Count the batch's correct predictions."""
        self._correct += int((batch.predicted == batch.labels).sum())
        self._samples += len(batch.labels)

    def result(self) -> Measured:
        """Fraction in [0, 1]; raises UserError if there are too few images."""
        self.require(self._samples, "generated", defined=1)
        return Measured(self._correct / self._samples, self._samples, {"correct": self._correct})
