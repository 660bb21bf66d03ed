"""Means of scores of single images: CLIP score, alignment, preferences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.intervals import Interval, t_interval
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import RELATIVE, Recorded
from bench.task.protocol import Protocol


class Scores:
    """A stream of scores; NaN or infinity is refused with their `name`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: list[np.ndarray] = []

    def update(self, values: np.ndarray) -> None:
        """Add scores [n]. Raises ValueError for another shape, UserError if one is not finite."""
        if values.ndim != 1:
            raise ValueError(f"scores {self.name!r} must be [n], got {list(values.shape)}")
        if not np.isfinite(values).all():
            raise UserError(f"scores {self.name!r} are not all finite; fix: bench weights check")
        self._parts.append(values.astype(np.float64))

    def values(self) -> np.ndarray:
        """Return all scores in their order, [n] float64."""
        return np.concatenate([np.zeros(0), *self._parts])


def mean_of_groups(values: np.ndarray, size: int) -> Interval:
    """Return the mean of values [n] with the t-interval over independent groups of `size` consecutive values.

    The images of one prompt are not independent of each other, but the means of prompts are. Raises ValueError if
    a group is incomplete, or there are no values.
    """
    if len(values) % size:
        raise ValueError(f"{len(values)} values are not a multiple of {size}")
    return t_interval(values.reshape(-1, size).mean(axis=1).tolist())


def score_of(batch: Features, name: str, metric: str) -> np.ndarray:
    """Return the scores `name` of a batch. Raises UserError if the extractor has none of this name."""
    if name not in batch.scores:
        given = ", ".join(sorted(batch.scores)) or "none"
        raise UserError(
            f"metric {metric!r} reads the scores {name!r} of each image, but the extractor gives {given}; "
            "fix: name one of its scores in the metric, or let the extractor give this one"
        )
    return batch.scores[name]


class MeanScore(Metric):
    """The mean of the scores that have the metric's name, with its standard error and interval over prompts."""

    counted: ClassVar[tuple[str, ...]] = ()
    """Names of [n] bool scores, called `metric_mark`, that the diagnostics count."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return the scores of two prompts of two images each."""

        def given(*scores: float) -> dict[str, list[float]]:
            marks = {f"{info.name}_{mark}": [0.0] * len(scores) for mark in cls.counted}
            return {info.name: list(scores), **marks}

        batches = given(0.1, 0.3), given(0.4, 0.8)
        return (KnownAnswer.of_scores("the mean of two prompts", 0.4, *batches, images_per_prompt=2),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._scores = Scores(self.info.name)
        self._marks = dict.fromkeys(self.counted, 0)
        self._reasons: list[str] = []

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield whether the interval is not that of the value, or the error too large for the metric's range.

        Means from a to b around m have at most the variance (m - a) (b - m). Source: Bhatia and Davis 2000.
        """
        prompts, error = found.number("prompts"), found.number("standard_error")
        if prompts is not None and prompts != found.prompts:
            yield f"it has {prompts:g} prompts, but {found.samples} images are of {found.prompts}"
        if error is None or found.prompts < 2:
            return
        from scipy.special import stdtrit

        yield from found.with_interval(float(stdtrit(found.prompts - 1, 0.975)))
        below, above = found.value - info.range[0], info.range[1] - found.value
        if math.isfinite(below * above) and error**2 * (found.prompts - 1) > max(below * above, 0.0) + RELATIVE:
            yield f"its standard error {error:.9g} is larger than values around {found.value:.9g} can have"

    def update(self, batch: Features) -> None:
        """Add the batch's scores. Raises UserError if it has none."""
        self._scores.update(score_of(batch, self.info.name, self.info.name))
        self._reasons.extend(batch.reasons.get(self.info.name, ()))
        for mark in self.counted:
            self._marks[mark] += int(score_of(batch, f"{self.info.name}_{mark}", self.info.name).sum())

    def result(self) -> Measured:
        """Return the mean, its Student-t interval, and the counts."""
        values = self._scores.values()
        self.require(len(values), "generated", defined=1)
        size = self.protocol.images_per_prompt
        over = mean_of_groups(values, size)
        prompts = len(values) // size
        diagnostics: dict[str, float | int | bool] = {"prompts": prompts, **self._marks}
        if over.std is not None and over.low is not None and over.high is not None:
            diagnostics |= {"standard_error": over.std / prompts**0.5, "low": over.low, "high": over.high}
        return Measured(over.mean, len(values), diagnostics, values.tolist(), self._reasons)


class PromptScore(MeanScore):
    """The mean score of image and prompt by a network that may read only the beginning of a long prompt."""

    counted: ClassVar[tuple[str, ...]] = ("truncated",)
