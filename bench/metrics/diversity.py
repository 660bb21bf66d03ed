"""Diversity: the mean distance between the images of one prompt, over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.intervals import bootstrap_interval
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded
from bench.metrics.scores import Scores, score_of
from bench.task.protocol import Protocol


class Diversity(Metric):
    """Mean over prompts of the mean LPIPS between a prompt's images, with a bootstrap interval over prompts.

    Noise is diverse too: a protocol with this metric has another that measures how well the images fit their
    prompts.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return the distances of three prompts of two images each."""
        distances = ({info.name: [0.1, 0.4]}, {info.name: [0.7]})
        return (KnownAnswer.of_scores("the mean of three prompts", 0.4, *distances),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._prompts = Scores(self.info.name)
        self._images = 0

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is outside of its bootstrap interval, or below the lowest prompt's."""
        if (ends := found.numbers("low", "high")) is not None:
            yield from found.within(ends[0], ends[1], "its own low and high")
        yield from found.within(found.number("lowest_prompt"), None, "the lowest prompt's")

    def update(self, batch: Features) -> None:
        """Add the batch's values, one for each prompt. Raises UserError if it has none."""
        self._prompts.update(score_of(batch, self.info.name, self.info.name))
        self._images += len(batch)

    def result(self) -> Measured:
        """Return the mean over prompts, and its interval."""
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
        return Measured(float(values.mean()), self._images, diagnostics, values.tolist())
