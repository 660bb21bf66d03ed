"""What a metric is: a stream of features in, one number with its diagnostics out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from bench.core.errors import UserError
from bench.features.views import Features, check_features
from bench.metrics.catalogue import MetricInfo
from bench.task.protocol import Protocol

T = TypeVar("T")


class _Remembered:
    """What was derived once and is shared by metrics and repetitions."""

    @cached_property
    def _derived(self) -> dict[str, Any]:
        return {}

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, evaluated the first time `key` is asked for."""
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]


@dataclass(frozen=True, eq=False)
class Reference(_Remembered):
    """The real images, seen through the feature network: `features` [N, D]."""

    features: np.ndarray
    name: str
    sha256: str

    def __post_init__(self) -> None:
        check_features(self.features, f"the reference {self.name!r}")

    @property
    def dimensions(self) -> int:
        """D, the number of features."""
        return self.features.shape[1]

    @property
    def samples(self) -> int:
        """N, the number of real images."""
        return len(self.features)

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of the features, [D], float64."""
        return self.features.mean(axis=0, dtype=np.float64)

    @cached_property
    def cov(self) -> np.ndarray:
        """Unbiased covariance of the features, [D, D], float64."""
        outer = np.zeros((self.features.shape[1],) * 2)
        for rows in row_blocks(len(self.features), 4096):
            centred = self.features[rows] - self.mean
            outer += centred.T @ centred
        return outer / (len(self.features) - 1)


@dataclass(frozen=True, eq=False)
class GaussianReference(_Remembered):
    """The real images as mean and covariance, perhaps with the features of some of them."""

    mean: np.ndarray
    """[D], float64."""
    cov: np.ndarray
    """[D, D], float64."""
    samples: int | None
    """Number of real images; None where the publisher does not say."""
    name: str
    sha256: str
    features: np.ndarray | None = None
    """[M, D], M <= N, of those images whose features were kept: what a `FeatureMetric` compares with."""
    fallbacks: int | None = None
    """Images too small for the view, which were seen otherwise than the others; None where nobody counted."""

    def __post_init__(self) -> None:
        if self.features is not None:
            check_features(self.features, f"the reference {self.name!r}")

    @property
    def dimensions(self) -> int:
        """D, the number of features."""
        return len(self.mean)


AnyReference = Reference | GaussianReference


@dataclass(frozen=True)
class Measured:
    """A metric's value over all the images it was given, and what it takes to trust it."""

    value: float
    samples: int
    diagnostics: dict[str, float | int | bool]


class Metric(ABC):
    """One number over a stream of generated images; it does not depend on how they were batched."""

    info: ClassVar[MetricInfo]

    def __init__(self, reference: AnyReference | None, protocol: Protocol) -> None:
        """`reference` holds the real images in the metric's view; None if the view only scores."""
        self.reference = reference
        self.protocol = protocol

    @abstractmethod
    def update(self, batch: Features) -> None:
        """Take in one batch of generated images."""

    @abstractmethod
    def result(self) -> Measured:
        """Return the value over all batches so far.

        Raises UserError if there are too few images; a smoke protocol only needs a defined number.
        """

    def require(self, samples: int, whose: str, *, defined: int, sound: int = 0) -> None:
        """Raise UserError unless there are enough images (`whose`: generated or reference).

        `defined` is the least that the formula needs. A number worth printing needs `min_samples` and
        `sound` too, which a smoke protocol waives.
        """
        needed = defined if self.protocol.smoke else max(defined, sound, self.info.min_samples)
        if samples < needed:
            raise UserError(
                f"metric {self.info.name!r} needs at least {needed} {whose} images, got {samples} "
                f"(protocol {self.protocol.name!r}); take more"
                + ("" if self.protocol.smoke else " or mark the protocol `smoke`")
            )


class FeatureMetric(Metric):
    """A metric that needs every feature at once, of real and generated images; it keeps the generated ones."""

    reference: AnyReference

    def __init__(self, reference: AnyReference | None, protocol: Protocol) -> None:
        """Raises UserError if the reference holds statistics alone."""
        if reference is None or reference.features is None:
            raise UserError(
                f"metric {self.info.name!r} needs the features of the real images, but the reference "
                f"{reference.name if reference else 'none'!r} holds only their mean and covariance; leave "
                f"{self.info.name!r} out, or take a reference made from images"
            )
        super().__init__(reference, protocol)
        self.real = reference.features
        self._batches: list[np.ndarray] = []

    def update(self, batch: Features) -> None:
        """Keep the batch's features."""
        if batch.features.shape[1] != self.reference.dimensions:
            raise ValueError(
                f"generated images have {batch.features.shape[1]} features, "
                f"the reference {self.reference.dimensions}"
            )
        self._batches.append(batch.features)

    def features(self) -> np.ndarray:
        """All features so far, [n, D], in the order they came."""
        return np.concatenate(self._batches) if self._batches else self.real[:0]


def row_blocks(rows: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most `size` that cover range(rows)."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
