"""Saturation, sharpness and contrast: how far the generated images' are from the real ones'."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bench.metrics.base import FeatureMetric, Measured
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded

COLUMNS = {"saturation": 0, "sharpness": 1, "contrast": 2}
"""The place of each statistic in the features of the extractor `pixels`, by the metric's name."""


def transport_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the 1-Wasserstein distance of two samples [n] and [m]: the area between their distribution functions.

    It is in the unit of the values, at least the difference of the means, and 0 for equal distributions alone.
    """
    x, y = np.sort(x.astype(np.float64)), np.sort(y.astype(np.float64))
    steps = np.sort(np.concatenate([x, y]))
    below_x = np.searchsorted(x, steps[:-1], side="right") / len(x)
    below_y = np.searchsorted(y, steps[:-1], side="right") / len(y)
    return float((np.abs(below_x - below_y) * np.diff(steps)).sum())


class PixelStatistic(FeatureMetric):
    """The distance between one statistic's distributions over generated and over real images.

    Neither more nor less saturation is better in itself; to have as much as real images is. The diagnostics
    have both means, which say in which direction the images deviate.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return images that have a quarter more of this statistic, and as much of the others."""
        real = np.linspace(0, 1, 12).reshape(4, 3)
        more = real + 0.25 * np.eye(3)[COLUMNS[info.name]]
        return (
            KnownAnswer.of_features("a quarter more than real images", 0.25, more, real),
            KnownAnswer.of_features("the same images", 0.0, real, real),
        )

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is below the difference of the means, or above that of independent images."""
        names = [f"{side}_{what}" for side in ("generated", "reference") for what in ("mean", "std")]
        if (given := found.numbers(*names)) is not None:
            apart = abs(given[0] - given[2])
            yield from found.within(apart, math.hypot(apart, given[1], given[3]), "the statistics of both sides")

    def result(self) -> Measured:
        """Return the distance, with mean and deviation of both sides. Raises UserError if images are too few."""
        generated, real = (rows[:, COLUMNS[self.info.name]] for rows in (self.features(), self.real))
        self.require(len(generated), "generated", defined=1)
        self.require(len(real), "reference", defined=1)
        diagnostics: dict[str, float | int | bool] = {"reference_samples": len(real)}
        for side, values in (("generated", generated), ("reference", real)):
            diagnostics[f"{side}_mean"] = float(values.mean(dtype=np.float64))
            diagnostics[f"{side}_std"] = float(values.std(dtype=np.float64))
        return Measured(transport_distance(generated, real), len(generated), diagnostics)
