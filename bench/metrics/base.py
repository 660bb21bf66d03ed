"""The base class of metrics: a metric turns a stream of features into one number with its diagnostics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from bench.core.errors import UserError, first_line
from bench.core.imports import load_class
from bench.features.statistics import mean_and_covariance
from bench.features.views import Features, check_features
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded
from bench.task.protocol import Protocol

T = TypeVar("T")

MEAN_OF_IMAGES = "mean_of_images"
"""The diagnostic with the mean of the scores, of a metric whose value is another one, such as a mean of tasks."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The real images in one feature space: mean and covariance, optionally with the features of some images."""

    mean: np.ndarray
    """[D], float64."""
    cov: np.ndarray
    """[D, D], float64."""
    samples: int | None
    """Number of images; None where the publisher does not give it."""
    name: str
    sha256: str
    features: np.ndarray | None = None
    """[M, D], M <= N: the features that were stored, with which a `FeatureMetric` compares."""
    fallbacks: int | None = None
    """Images that were too small for a patch, and were squashed or padded; None if they were not counted."""
    _derived: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.features is not None:
            check_features(self.features, f"the reference {self.name!r}")

    @classmethod
    def of(cls, features: np.ndarray, name: str, sha256: str) -> Reference:
        """Return a reference of all real images' features [N, D]. Raises UserError if they are not finite."""
        check_features(features, f"the reference {name!r}")
        return cls(*mean_and_covariance(features), len(features), name, sha256, features)

    @property
    def dimensions(self) -> int:
        """The number of features, D."""
        return len(self.mean)

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, which is evaluated once for each `key`; metrics and repetitions share it."""
        if key not in self._derived:
            self._derived[key] = compute()
        found: T = self._derived[key]
        return found


@dataclass(frozen=True)
class Measured:
    """A metric's value over all its images, with the diagnostics that show whether to trust it."""

    value: float
    samples: int
    """The images that were added, or their patches; `diagnostics` count those that the metric leaves out."""
    diagnostics: dict[str, float | int | bool]
    scores: Sequence[float] = ()
    """Where the value is a mean: the score of each image in order, or of each group of one prompt. Their mean is
    the value, or the diagnostic `MEAN_OF_IMAGES`."""
    reasons: Sequence[str] = ()
    """In words, why each score is what it is; empty without reasons."""


class Metric(ABC):
    """One number over a stream of generated images; it does not depend on how they were batched."""

    info: MetricInfo
    """The description for lists and tables. One class may serve several metrics; a plug-in's class has it as a
    class attribute."""

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        """Take the `reference` with the features of the real images; None if the metric compares with none.

        Raises UserError if the metric requires a reference and there is none.
        """
        if reference is None and info.needs_reference:
            raise UserError(
                f"metric {info.name!r} compares with {info.compares_with} images, and there are no features of "
                f"them by {protocol.network(info.extractor)}; fix: leave {info.name!r} out, or prepare a reference"
            )
        self.reference = reference
        self.protocol = protocol
        self.info = info

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003 (most need only the class)
        """Return sets on which the value of the metric `info` is known, for `bench metrics check`; empty: none."""
        return ()

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003 (as above)
        """Yield where a recorded value of the metric `info` and its diagnostics cannot both be true."""
        yield from ()

    def check(self) -> None:
        """Raise UserError if the protocol, or the reference, has too few images; called before any is made."""
        self.require(self.protocol.samples, "generated", defined=1)

    @abstractmethod
    def update(self, batch: Features) -> None:
        """Add one batch of generated images."""

    @abstractmethod
    def result(self) -> Measured:
        """Return the value over all batches so far.

        Raises UserError if there are too few images; with a smoke protocol, the number must only be defined.
        """

    def require(self, samples: int, side: str, *, defined: int, sound: int = 0) -> None:
        """Raise UserError unless there are enough images on a side (generated or reference).

        `defined` is the minimum for which the formula is defined. A number worth printing also requires
        `min_samples` and `sound`, except with a smoke protocol.
        """
        minimum = defined if self.protocol.smoke else max(defined, sound, self.info.min_samples)
        if samples < minimum:
            raise UserError(
                f"metric {self.info.name!r} requires at least {minimum} {side} images, got {samples} "
                f"(protocol {self.protocol.name!r}); fix: take more"
                + ("" if self.protocol.smoke else " or mark the protocol `smoke`")
            )


class FeatureMetric(Metric):
    """A metric that compares all features of real and generated images at once; it keeps the generated ones."""

    reference: Reference

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        """Keep the real features. Raises UserError if the reference is missing or contains only statistics."""
        super().__init__(reference, protocol, info)
        if reference is None or reference.features is None:
            raise UserError(
                f"metric {info.name!r} reads the features of single real images, but the reference "
                f"{reference.name if reference else 'none'!r} contains only their mean and covariance; fix: leave "
                f"{info.name!r} out, or take a reference made from images"
            )
        self.real = reference.features
        self._batches: list[np.ndarray] = []

    def check(self) -> None:
        """Raise UserError if the protocol or the reference has too few images."""
        super().check()
        self.require(len(self.real), "reference", defined=1)

    def update(self, batch: Features) -> None:
        """Keep the batch's features."""
        if batch.features.shape[1] != self.reference.dimensions:
            raise ValueError(
                f"generated images have {batch.features.shape[1]} features, "
                f"the reference {self.reference.dimensions}"
            )
        self._batches.append(batch.features)

    def features(self) -> np.ndarray:
        """Return all features so far, [n, D], in the order of the images."""
        return np.concatenate(self._batches) if self._batches else self.real[:0]


def make_metric(info: MetricInfo, reference: Reference | None, protocol: Protocol) -> Metric:
    """Return a metric for one stream of images. Raises UserError if its class or its reference is not there."""
    return metric_class(info)(reference, protocol, info)


def metric_class(info: MetricInfo) -> type[Metric]:
    """Return the class that implements a metric. Raises UserError if it cannot be imported, or is no metric."""
    try:
        metric: object = load_class(info.implementation)
    except (ImportError, AttributeError) as error:
        raise _no_class(info, first_line(error)) from error
    if not isinstance(metric, type) or not issubclass(metric, Metric):
        raise _no_class(info, "it is no class of a Metric")
    return metric


def binds_its_result(metric: type[Metric]) -> bool:
    """Return whether `contradictions` is of the class that computes the result, or of one that extends it.

    A plug-in's class with a result of its own inherits what another result contradicts.
    """
    order = [vars(one) for one in metric.__mro__]
    names = ("contradictions", "result")
    contradictions, result = (next(place for place, own in enumerate(order) if name in own) for name in names)
    return contradictions <= result


def _no_class(info: MetricInfo, why: str) -> UserError:
    return UserError(
        f"metric {info.name!r} is implemented by {info.implementation!r}, which cannot be used: {why}; "
        "fix: name a class of bench.metrics, such as bench.metrics.scores:MeanScore, or one of yours"
    )
