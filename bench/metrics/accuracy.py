"""Class accuracy: does the feature classifier see the class that was asked for?"""

from __future__ import annotations

from typing import ClassVar

from bench.features.views import Features
from bench.metrics.base import AnyReference, Measured, Metric
from bench.metrics.catalogue import ACCURACY, MetricInfo
from bench.task.protocol import Protocol


class Accuracy(Metric):
    """Fraction of generated images that the feature classifier assigns to their own label."""

    info: ClassVar[MetricInfo] = ACCURACY

    def __init__(self, reference: AnyReference | None, protocol: Protocol) -> None:
        super().__init__(reference, protocol)
        self._correct = 0
        self._samples = 0

    def update(self, batch: Features) -> None:
        """Count the images that were seen as what they should be."""
        found = batch.scores["accuracy"]
        self._correct += int(found.sum())
        self._samples += len(found)

    def result(self) -> Measured:
        """Fraction in [0, 1]; raises UserError if there are too few images."""
        self.require(self._samples, "generated", defined=1)
        return Measured(self._correct / self._samples, self._samples, {"correct": self._correct})
