"""Diversity: the mean distance between the images of one prompt, over prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import UserError
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
        batches = [
            Features(np.zeros((2 * len(distances), 0)), scores={info.name: np.array(distances)})
            for distances in ([0.1, 0.4], [0.7])
        ]
        return (KnownAnswer("the mean of three prompts", 0.4, batches, protocol={"images_per_prompt": 2}),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        """Start without images. Raises UserError if the protocol has one image for each prompt."""
        super().__init__(reference, protocol, info)
        self._size = protocol.images_per_prompt
        if self._size < 2:
            raise UserError(
                f"metric {info.name!r} compares the images of one prompt, and protocol {protocol.name!r} has one "
                "image of each; fix: leave it out, or take a protocol with several, as `partiprompts` has"
            )
        self._prompts = Scores(self.info.name)
        self._images = 0

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is outside of its bootstrap interval, or below the lowest prompt's."""
        if (ends := found.numbers("low", "high")) is not None:
            yield from found.within(ends[0], ends[1], "its own low and high")
        yield from found.within(found.number("lowest_prompt"), None, "the lowest prompt's")

    def update(self, batch: Features) -> None:
        """Add the batch's values. Raises UserError if it has none, or not one for the images of each prompt."""
        values = score_of(batch, self.info.name, self.info.name)
        if len(values) * self._size != len(batch):
            compared = len(batch) // max(1, len(values))
            raise UserError(
                f"metric {self.info.name!r} got {len(values)} numbers for {len(batch)} images, and protocol "
                f"{self.protocol.name!r} has {self._size} images of each prompt, so that images of other prompts "
                f"would be compared; fix: leave it out, or take one with {compared} images of each prompt"
            )
        self._prompts.update(values)
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
