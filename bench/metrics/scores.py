"""Means of scores that a task's networks give to each image, or to each group of images of one caption."""

from __future__ import annotations

from typing import ClassVar

from bench.metrics.base import AnyReference, Measured, Metric
from bench.metrics.catalogue import ALIGNMENT, COLOURS, DIVERSITY, KINDS, MetricInfo
from tasks.protocol import Protocol
from tasks.views import Features


class MeanScore(Metric):
    """Mean of the score that has the metric's name."""

    def __init__(self, reference: AnyReference | None, protocol: Protocol) -> None:
        super().__init__(reference, protocol)
        self._sum = 0.0
        self._count = 0
        self._images = 0

    def update(self, batch: Features) -> None:
        """Add the batch's scores."""
        found = batch.scores[self.info.name]
        self._sum += float(found.sum(dtype="float64"))
        self._count += len(found)
        self._images += len(batch)

    def result(self) -> Measured:
        """Mean over images or groups; raises UserError if there are too few images."""
        self.require(self._images, "generated", defined=1)
        return Measured(self._sum / self._count, self._count, {"scores": self._count})


class Alignment(MeanScore):
    """Share of images that show all of their caption."""

    info: ClassVar[MetricInfo] = ALIGNMENT


class Kinds(MeanScore):
    """Share of images with the right kinds of items at their places."""

    info: ClassVar[MetricInfo] = KINDS


class Colours(MeanScore):
    """Share of images with the right colours at their places."""

    info: ClassVar[MetricInfo] = COLOURS


class Diversity(MeanScore):
    """How unlike each other the images of one caption are."""

    info: ClassVar[MetricInfo] = DIVERSITY
