"""Class accuracy: whether the feature classifier recognises the class that an image was generated for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded
from bench.metrics.scores import Scores, score_of
from bench.task.protocol import Protocol


class Accuracy(Metric):
    """Fraction of generated images that the feature classifier assigns to their own label."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return five images, three of them right."""
        right = ({"accuracy": [True, False, True]}, {"accuracy": [True, False]})
        return (KnownAnswer.of_scores("three of five right", 0.6, *right),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._correct = Scores(self.info.name)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is not the share of the images that are right."""
        if (correct := found.number("correct")) is not None:
            yield from found.with_share(correct, found.samples, "right images")

    def update(self, batch: Features) -> None:
        """Count the images that are classified as their own label."""
        self._correct.update(score_of(batch, "accuracy", self.info.name))

    def result(self) -> Measured:
        """Return the fraction in [0, 1]. Raises UserError if there are too few images."""
        correct = self._correct.values()
        self.require(len(correct), "generated", defined=1)
        count = int(correct.sum())
        return Measured(count / len(correct), len(correct), {"correct": count}, correct.tolist())
